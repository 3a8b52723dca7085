"""What the Audit page is made of: design, invitations, results."""
