"""Private folders: their modes under any umask, and paths that another user could redirect."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from horsies.embedded.private_folder import UnsafeFolderError, make_private, open_private

OTHER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders of another user")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder like one of a user."""
    folder = tmp_path / "project"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o077])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("_umask")
def test_every_folder_that_is_made_is_for_its_owner_only(place: Path) -> None:
    make_private(place / ".horsies" / "deep" / "pg")
    made = [place / ".horsies", place / ".horsies" / "deep", place / ".horsies" / "deep" / "pg"]
    assert [mode(each) for each in made] == [0o700] * 3
    os.close(open_private(made[-1] / "lock", os.O_RDWR))
    assert mode(made[-1] / "lock") == 0o600


def test_a_folder_that_is_open_to_others_is_closed(place: Path) -> None:
    home = place / ".horsies" / "pg"
    home.mkdir(parents=True)
    home.chmod(0o777)
    home.parent.chmod(0o777)
    make_private(home)
    assert (mode(home), mode(home.parent), mode(place)) == (0o700, 0o700, 0o755)


@pytest.mark.parametrize("link", [".horsies", ".horsies/pg"])
@pytest.mark.parametrize("leads", ["to a folder", "nowhere"])
def test_a_symbolic_link_is_not_followed(place: Path, tmp_path: Path, link: str, leads: str) -> None:
    target = tmp_path / "elsewhere"
    if leads == "to a folder":
        target.mkdir()
    (place / link).parent.mkdir(exist_ok=True)
    (place / link).symlink_to(target)
    with pytest.raises(UnsafeFolderError, match=f"{link} is a symbolic link, which is not followed: name .*elsewhere"):
        make_private(place / ".horsies" / "pg")
    assert leads == "nowhere" or not any(target.iterdir())
    assert target.exists() == (leads == "to a folder")


def test_a_symbolic_link_to_a_file_is_not_opened(place: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (place / "lock").symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        open_private(place / "lock", os.O_RDWR)
    assert not target.exists()


@pytest.mark.parametrize("open_mode", [0o757, 0o777, 0o1777])
def test_a_folder_above_that_others_can_write_to_is_refused_without_a_sticky_bit(place: Path, open_mode: int) -> None:
    place.chmod(open_mode)
    home = place / ".horsies" / "pg"
    if open_mode & stat.S_ISVTX:
        make_private(home)
        assert mode(home) == 0o700
        return
    with pytest.raises(UnsafeFolderError, match=f"other users can write to {place} .*: run: chmod go-w {place}"):
        make_private(home)
    assert not home.exists()


@as_root
def test_a_folder_above_that_a_group_of_others_can_write_to_is_refused(place: Path) -> None:
    place.chmod(0o775)
    make_private(place / "private" / "pg")  # the group that contains only root
    os.chown(place, 0, OTHER)
    with pytest.raises(UnsafeFolderError, match="other users can write"):
        make_private(place / "pg")


@as_root
@pytest.mark.parametrize("part", ["", ".horsies", ".horsies/pg"])
def test_a_part_of_the_path_that_belongs_to_another_user_is_refused(place: Path, part: str) -> None:
    home = place / ".horsies" / "pg"
    home.mkdir(parents=True)
    os.chown(place / part, OTHER, OTHER)
    with pytest.raises(UnsafeFolderError, match=f"{place / part} belongs to the user {OTHER}"):
        make_private(home)


@as_root
def test_a_link_above_that_belongs_to_another_user_is_refused(place: Path) -> None:
    (place / "real" / "data").mkdir(parents=True)
    (place / "link").symlink_to(place / "real")
    make_private(place / "link" / "data" / "pg")
    os.lchown(place / "link", OTHER, OTHER)
    with pytest.raises(UnsafeFolderError, match=f"link belongs to the user {OTHER}"):
        make_private(place / "link" / "data" / "pg")


@as_root
def test_where_a_link_above_leads_is_checked_as_well(place: Path) -> None:
    (place / "open" / "data").mkdir(parents=True)
    (place / "open").chmod(0o777)
    (place / "link").symlink_to(place / "open" / "data")
    with pytest.raises(UnsafeFolderError, match=f"other users can write to {place / 'open'} "):
        make_private(place / "link" / "deep" / "pg")


@as_root
def test_a_folder_that_another_user_created_first_is_refused(place: Path) -> None:
    """This can happen in /tmp: the sticky bit prevents others from renaming a folder, not from creating it first."""
    place.chmod(0o1777)
    (place / ".horsies").mkdir()
    os.chown(place / ".horsies", OTHER, OTHER)
    with pytest.raises(UnsafeFolderError, match=f"belongs to the user {OTHER}"):
        make_private(place / ".horsies" / "pg")
