"""Nothing that training sees may be tested: what clips of two splits must not share."""

from __future__ import annotations

from collections.abc import Sequence

from kindred.errors import ExpressiveError
from kindred.expressive.clips import SETS, SPLITS, Clip


def check_disjoint(clips: Sequence[Clip]) -> None:
    """Check that splits share nothing.

    Raises
    ------
    ExpressiveError
        Names what is shared: a group, a work, a score, a performance or a recipe in two splits; a
        composer of "composers" elsewhere (people's performances aside: nothing learns from them); a
        sweep or nuisance whose base is missing, of another work or in another split. And a clip
        that is there twice or is of no known set or split, a work in two groups, or a performance
        of two works.
    """
    by_id: dict[str, Clip] = {}
    for clip in clips:
        if clip.clip_id in by_id:
            raise _broken(f"The clip {clip.clip_id} is there twice")
        by_id[clip.clip_id] = clip
        if clip.set not in SETS or clip.split not in SPLITS:
            raise _broken(
                f"The clip {clip.clip_id} is of {clip.set!r}, {clip.split!r}; sets are"
                f" {', '.join(SETS)}, splits {', '.join(SPLITS)}"
            )
    seen: dict[tuple[str, str], str] = {}
    owner_of: dict[tuple[str, str], str] = {}
    for clip in clips:
        if clip.base:
            _check_base(clip, by_id.get(clip.base))
        for what, name in (  # what says most comes first
            ("recipe", clip.recipe.digest),
            ("performance", clip.performance),
            ("score", clip.recipe.source),
            ("work", clip.work),
            ("group", clip.group),
        ):
            split = seen.setdefault((what, name), clip.split)
            if split != clip.split:
                raise _broken(f"The {what} {name} is in {split} and in {clip.split}")
        for what, name, whole, owner in (
            ("work", clip.work, "group", clip.group),
            ("performance", clip.performance, "work", clip.work),
        ):
            other = owner_of.setdefault((what, name), owner)
            if other != owner:
                raise _broken(f"The {what} {name} is of the {whole} {other} and of {owner}")
    held_out = {clip.composer for clip in clips if clip.split == "composers"}
    for clip in clips:
        if clip.composer in held_out and clip.split != "composers" and clip.set != "human":
            raise _broken(f"The composer {clip.composer} is in composers and in {clip.split}")


def _check_base(clip: Clip, base: Clip | None) -> None:
    if base is None:
        raise _broken(f"The clip {clip.clip_id} varies {clip.base}, which is not there")
    for what, one, other in (
        ("work", clip.work, base.work),
        ("split", clip.split, base.split),
    ):
        if one != other:
            raise _broken(
                f"The clip {clip.clip_id} is of the {what} {one}, its base {clip.base} of {other}"
            )


def _broken(what: str) -> ExpressiveError:
    return ExpressiveError(f"Splits are not disjoint. {what}. Make the plan of clips again.")
