"""Roster: members come in order, and the last one takes the place of one that is done."""

from types import SimpleNamespace

from jointrain.training.population._roster import Roster


class Rows:
    """Keeps the name of the member of each row."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}

    def enter(self, row, member):
        self.names[row] = member.name

    def move(self, source, target):
        self.names[target] = self.names[source]


def make_member(name: str, steps: int, epoch: int) -> SimpleNamespace:
    member = SimpleNamespace(name=name, step=0, steps=steps, epoch_steps=epoch)
    member.start = lambda: None
    member.steps_to_go = lambda: min(epoch - member.step % epoch, steps - member.step)
    return member


def test_members_take_turns_and_rows_stay_together():
    rows = Rows()
    members = [make_member("a", 4, 4), make_member("b", 10, 3), make_member("c", 6, 6)]
    members.append(make_member("d", 2, 5))
    roster = Roster(members, 3, [rows])
    assert roster.admit() == [0, 1, 2]
    assert rows.names == {0: "a", 1: "b", 2: "c"}
    assert roster.steps_to_go() == 3
    assert roster.advance(3) == [1]
    assert roster.steps_to_go() == 1
    assert roster.advance(1) == [0]
    assert roster.done == 1 + 4 / 10 + 4 / 6
    roster.remove(0)
    assert [member.name for member in roster.members] == ["c", "b"]
    assert (rows.names[0], rows.names[1]) == ("c", "b")
    assert roster.admit() == [2]
    assert rows.names[2] == "d"
    assert roster.advance(2) == [0, 1, 2]
    assert roster.done == 1 + 1 + 6 / 10 + 1
    assert roster.admit() == []
