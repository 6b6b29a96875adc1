"""The mutation run makes the mistakes that it counts."""

from pathlib import Path

from tests.mutants.mutations import mutants_of

CODE = '''\
class Purse:
    """Money."""

    def pay(self, price, is_free=False):
        if price > self.left and not is_free:
            raise ValueError
        self.note(price)
        self.left = self.left - price
        return self.left
'''


def test_each_mistake_is_made_alone_and_works(tmp_path: Path) -> None:
    """Comparisons, conditions, sums, constants, statements and results; what runs is the mutant."""
    path = tmp_path / "purse.py"
    path.write_text(CODE)
    made = {(mutant.before, mutant.after) for mutant in mutants_of(path)}
    assert made == {
        ("False", "True"),
        ("price > self.left", "price >= self.left"),
        (
            "price > self.left and (not is_free)",
            "price > self.left or not is_free",
        ),
        ("not is_free", "not not is_free"),
        ("raise ValueError", "pass"),
        ("self.note(price)", "pass"),
        ("self.left - price", "self.left + price"),
        ("return self.left", "return None"),
    }
    (wrong,) = [each for each in mutants_of(path) if each.before == "self.left - price"]
    namespace: dict[str, type] = {}
    exec(CODE, namespace)
    purse = namespace["Purse"]
    purse.note = lambda self, price: None  # type: ignore[attr-defined]
    purse.pay.__code__ = wrong.code()  # type: ignore[attr-defined]
    mine = purse()
    mine.left = 5
    assert mine.pay(2) == 7
