"""Tables, columns and data sets of other libraries as feeds, arguments and batches."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import DTypeError, FeedDTypeError, FeedError, ShapeError
from tests.ops.messages import assert_each_raises

ROWS = np.array([[1.0, 0.5], [2.0, 1.5], [3.0, 2.5]])
MISSING = np.array([[1.0, 0.5], [np.nan, 1.5], [3.0, 2.5]])


def frame(values, second=(0.5, 1.5, 2.5), library="pandas"):
    """A table of two columns in a library."""
    module = pytest.importorskip(library)
    make = module.table if library == "pyarrow" else module.DataFrame
    return make({"a": values, "b": list(second)})


class Interchanged:
    """A table that has the protocol of data frames alone."""

    def __init__(self, table):
        self._table = table

    def __dataframe__(self, **options):
        return self._table.__dataframe__(**options)


class Column:
    """A column of the protocol, of NumPy's memory, with missing elements by one of its ways."""

    def __init__(self, values, null=(0, None), validity=None, offset=0, bits=None):
        self._values, self.describe_null, self._validity = values, null, validity
        self.offset, self._bits = offset, bits
        kinds = {"i": 0, "u": 1, "f": 2, "b": 20, "U": 21}
        self.dtype = (kinds[values.dtype.kind], bits or 8 * values.itemsize, "", "=")

    def size(self):
        return 3

    def get_buffers(self):
        data = np.packbits(self._values, bitorder="little") if self._bits == 1 else self._values
        mask = None if self._validity is None else (Buffer(self._validity), (20, 8, "", "="))
        if self._validity is not None and self.describe_null[0] == 3:
            packed = np.packbits(self._validity, bitorder="little")
            mask = Buffer(packed), (20, 1, "", "=")
        return {"data": (Buffer(data), self.dtype), "validity": mask}


class Buffer:
    def __init__(self, array):
        self._array = array
        self.ptr, self.bufsize = array.ctypes.data, array.nbytes


class Table:
    """A table of such columns, in one or several chunks."""

    def __init__(self, *chunks):
        self._chunks = chunks

    def __dataframe__(self):
        return self

    def get_chunks(self):
        return [Chunk(chunk) for chunk in self._chunks]


class Chunk:
    def __init__(self, columns):
        self._columns = columns

    def column_names(self):
        return [*self._columns]

    def get_column_by_name(self, name):
        return self._columns[name]


TABLES = {
    "pandas": (lambda: frame([1, 2, 3]), ROWS),
    "nullable": (lambda: frame([1, None, 3]).astype({"a": "Int64"}), MISSING),
    "polars": (lambda: frame([1, 2, 3], library="polars"), ROWS),
    "polars, missing": (lambda: frame([1, None, 3], library="polars"), MISSING),
    "arrow": (lambda: frame([1, 2, 3], library="pyarrow"), ROWS),
    "arrow, missing": (lambda: frame([1, None, 3], library="pyarrow"), MISSING),
    "xarray": (lambda: pytest.importorskip("xarray").DataArray(ROWS, dims=("r", "c")), ROWS),
    "torch": (lambda: pytest.importorskip("torch").tensor(ROWS), ROWS),
    "protocol": (
        lambda: Table({"a": Column(np.array([1, 2, 3], "int16")), "b": Column(ROWS[:, 1].copy())}),
        ROWS,
    ),
    "protocol, masks": (
        lambda: Table(
            {
                "a": Column(np.arange(5), (4, 0), np.array([1, 1, 0, 1, 1], "uint8"), offset=1),
                "b": Column(np.array([0.5, 1.5, 2.5])),
            }
        ),
        MISSING,
    ),
    "protocol, bits": (
        lambda: Table(
            {
                "a": Column(np.array([1, 7, 3]), (3, 0), np.array([True, False, True])),
                "b": Column(np.array([0.5, 1.5, 2.5])),
            }
        ),
        MISSING,
    ),
    "protocol, a mark": (
        lambda: Table(
            {"a": Column(np.array([1, -9, 3]), (2, -9)), "b": Column(np.array([0.5, 1.5, 2.5]))}
        ),
        MISSING,
    ),
}
X = sg.input("x", ("n", 2), "float64")
PROGRAM = sg.compile({"y": 2.0 * X})


@sg.function
def double(x):
    return 2.0 * x


DOORS = {
    "run": lambda x: PROGRAM.run({"x": x})["y"],
    "function": double,
    "constant": lambda x: sg.evaluate(2.0 * sg.constant(x)),
    "evaluate": lambda x: sg.evaluate(2.0 * X, {"x": x}),
    "batches": lambda x: 2.0 * next(iter(sg.train.Batches(x, size=3))),
    "parameter": lambda x: 2.0 * sg.parameter("p", x).value,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_numbers_is_its_array(table, door):
    make, expected = TABLES[table]
    np.testing.assert_array_equal(DOORS[door](make()), 2.0 * expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*interchange.*")
@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_the_protocol_of_real_libraries(library):
    table = frame([1, 2, 3], library=library)
    if not hasattr(table, "__dataframe__"):
        pytest.skip("this version has no such protocol")
    np.testing.assert_array_equal(double(Interchanged(table)), 2.0 * ROWS)
    if library == "pyarrow":
        table = frame([1, None, 3], library=library)
        np.testing.assert_array_equal(double(Interchanged(table)), 2.0 * MISSING)


def test_chunks_and_bits_of_the_protocol():
    chunk = {"a": Column(np.array([True, False, True]), bits=1), "b": Column(np.ones(3, "bool"))}
    actual = double(Table(chunk, chunk))
    np.testing.assert_array_equal(actual, [[2, 2], [0, 2], [2, 2]] * 2)


@pytest.mark.parametrize("door", DOORS)
def test_text_categories_and_dates_are_one_error_with_the_column(door):
    pandas = pytest.importorskip("pandas")
    dates = pandas.to_datetime(["2020-01-01"] * 3)
    for values in (["x", "y", "x"], pandas.Categorical(["x", "y", "x"]), dates):
        with pytest.raises((DTypeError, sg.StaticgradError), match="a DataFrame whose column 'a'"):
            DOORS[door](frame(values))
    with pytest.raises(sg.StaticgradError, match=r"a Series of category, and no numbers"):
        DOORS[door](frame(pandas.Categorical(["x", "y", "x"]))["a"])
    with pytest.raises(sg.StaticgradError, match=r"a Table whose column 't' has 21"):
        DOORS[door](Table({"t": Column(np.array(["x", "y", "x"]))}))


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_text_of_other_libraries(library):
    with pytest.raises(FeedDTypeError, match=r"whose column 'a' has [sS]tr(.|\n)*category as its"):
        PROGRAM.run({"x": frame(["x", "y", "z"], library=library)})


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_columns_feed_the_inputs_of_their_names(library):
    a, b = (sg.input(name, ("n",), "float64") for name in "ab")
    program = sg.compile({"y": a - b})
    table = frame([1, 2, 3], library=library)
    np.testing.assert_array_equal(program.run(table)["y"], ROWS[:, 0] - ROWS[:, 1])
    np.testing.assert_array_equal(sg.evaluate(a * 1.0, table), ROWS[:, 0])
    with pytest.raises(FeedError, match="no feed for input 'c'"):
        sg.compile(sg.input("c", (3,)) * 1.0).run(table)


@pytest.mark.parametrize("form", ["big-endian", "read-only", "strided", "negative", "fortran"])
def test_memory_of_any_form(form):
    x = {
        "big-endian": ROWS.astype(">f8"),
        "read-only": ROWS.copy(),
        "strided": np.repeat(np.repeat(ROWS, 2, 0), 3, 1)[::2, ::3],
        "negative": ROWS[::-1, ::-1].copy()[::-1, ::-1],
        "fortran": np.asfortranarray(ROWS),
    }[form]
    x.flags.writeable = form != "read-only"
    for door in DOORS.values():
        np.testing.assert_array_equal(door(x), 2.0 * ROWS)


class Pairs:
    """A data set by number, as those of PyTorch."""

    def __init__(self, form=tuple):
        self._form = form

    def __len__(self):
        return 7

    def __getitem__(self, number):
        x, y = np.full(3, number, "float32"), number * 2
        return {"x": x, "y": y} if self._form is dict else self._form((x, y))


@pytest.mark.parametrize("form", [tuple, list, dict])
def test_a_data_set_is_cut_into_batches(form):
    batches = sg.train.Batches(Pairs(form), size=3, seed=0)
    passed = [[*batches.epoch(1)], [*batches.epoch(1)]]
    assert len(batches) == len(passed[0]) == 3
    pairs = [batch.values() if form is dict else batch for batch in passed[0]]
    xs, ys = (np.concatenate(part) for part in zip(*pairs, strict=True))
    assert sorted(ys.tolist()) == [0, 2, 4, 6, 8, 10, 12] != ys.tolist()
    np.testing.assert_array_equal(xs, np.repeat(ys[:, None] / 2, 3, 1))
    assert (xs.dtype, ys.dtype) == (np.float32, np.int64)
    assert ys.tolist() == [
        int(y) for batch in passed[1] for y in (batch["y"] if form is dict else batch[1])
    ]
    assert "Pairs of 7 examples" in repr(batches)


def test_data_of_pytorch_is_trained_on():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.arange(6.0)[:, None], torch.arange(6))
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    seen = []

    def step(x, y):
        seen.append((np.asarray(x).tolist(), np.asarray(y).tolist()))
        return float(np.asarray(x).mean())

    assert sg.train.fit(step, loader, 2).losses == [2.5, 2.5]
    by_number = [*seen]
    seen.clear()
    assert sg.train.fit(step, data, 2, batch_size=4).losses == [2.5, 2.5]
    assert seen == by_number
    assert type(next(iter(sg.train.Batches(data, size=2)))[0]) is np.ndarray


def test_what_is_refused():
    ragged = Pairs()
    ragged.__class__ = type("Ragged", (Pairs,), {"__getitem__": lambda self, k: np.ones(k + 1)})
    assert_each_raises(
        (ShapeError, r"examples have shapes \(1,\) and \(2,\)",
         lambda: next(iter(sg.train.Batches(ragged, size=2)))),
        (FeedError, "the feeds are an array, not a dict", lambda: PROGRAM.run(ROWS)),
    )  # fmt: skip
