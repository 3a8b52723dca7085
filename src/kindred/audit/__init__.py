"""Blind listening audits: design, sittings, judgements, results, labels."""
