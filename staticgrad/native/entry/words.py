"""The words that a native entry and the code around it share, by number."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

#: Bytes up to which a result is always a new array: NumPy has a cache of such blocks, which is as
#: fast as the pool. Of a larger result the pool is asked first, then it is a new array, too.
SMALL: Final = 1024
#: Successive results of a shape of which the pool has no block, until a run in Python puts one into
#: it. That run takes 40 us. Fewer, and shapes in turn would take it often; more, and a loop that
#: drops large results would get fresh pages for longer.
MOST_MISSES: Final = 8
#: ndarray.flags.num: C_CONTIGUOUS and ALIGNED; the same and WRITEABLE.
READABLE: Final = 0x0101
WRITABLE: Final = 0x0501


class HeadWord(IntEnum):
    """Words of a program. Names end in ``_AT`` where they are addresses of further words."""

    RUNNING = 0  # 1 while rows run
    CLOSED = 1  # 1 while Python code uses the arena, the tables, the records
    HOLD_AT = 2
    RUNS = 3
    LATEST = 4  # address of the record that ran last
    RECORD = 5  # address of the first record, 0 for none
    FEEDS = 6
    RESULTS = 7
    SINGLE = 8  # 1 where the only result is returned itself
    NAMES_AT = 9
    TYPES_AT = 10
    RANKS_AT = 11
    BOOLS_AT = 12  # 1 for an input of bools whose bytes must be 0 and 1
    RESULT_NAMES_AT = 13
    RESULT_TYPES_AT = 14
    RESULT_RANKS_AT = 15
    POOLS_AT = 16  # for each result the words of a ``ResultPoolWord``
    SETTLE = 17  # called where somebody waits for the end of the run
    WRITTEN = 18  # ranges of bytes that the step updates
    WRITTEN_AT = 19
    CALLS_AT = 20
    DRIVER = 21
    UNUSED = 22  # references to an unused block's memory
    KEYS_AT = 23  # for each input the value by which it was fed lately, or 0
    NUMBERS_AT = 24  # for each input that takes numbers its bytes, below 0 those of integers; or 0


class ResultPoolWord(IntEnum):
    """Words of the pool of one result."""

    FIRST = 0  # a block's array, or 0
    SECOND = 1
    MISSES = 2  # successive results without a block of their shape


class HoldWord(IntEnum):
    """Words of the holder of the locks of a program's parameters."""

    STANDS = 0  # 1 while the locks are reserved
    RUNNING = 1
    WRITING = 2
    THREAD = 3  # for which thread; 0: any


class RecordWord(IntEnum):
    """Words of one plan."""

    NEXT = 0
    SHAPES_AT = 1
    FEEDS_AT = 2  # for each feed the words of a ``PlaceWord``
    RESULT_SHAPES_AT = 3
    RESULTS_AT = 4
    BLOCK = 5
    COMMIT = 6  # rows before the commit, then all
    ROWS = 7
    NOTES = 8  # pairs of words in which failing indices are noted
    NOTES_AT = 9  # their addresses
    RELEASES = 10  # 1 where the interpreter lock is released, 2 where it is not held
    FUEL = 11  # predicted nanoseconds after which a run is given up, 0 where none is
    FUEL_AT = 12  # the word that the driver takes it from, then where it would go on
    RESUME_AT = 13
    ENDLESS = 14  # what that word holds else


class PlaceWord(IntEnum):
    """Words of a feed or result of one plan."""

    BYTES = 0
    BOUND_AT = 1  # where the address is that the table has now
    SLOTS = 2  # words of the table that point into it
    SLOTS_AT = 3  # for each: the address of the word, and bytes from the start
    NUMBER_AT = 4  # of a feed that is converted: where in the arena, else 0


class BoundWord(IntEnum):
    """Words of feeds and arrays for results that were bound once."""

    HEAD = 0
    FEEDS_AT = 1
    RESULTS_AT = 2  # arrays, 0 where the program makes one
    GIVEN = 3  # 1 where there is one
    RECORD = 4  # the record with which the addresses were checked
    FEED_ADDRESSES_AT = 5
    RESULT_ADDRESSES_AT = 6


class CallWord(IntEnum):
    """Addresses of functions and objects of the interpreter and NumPy."""

    PyDict_New = 0
    PyDict_Size = 1
    PyDict_GetItemWithError = 2
    PyDict_SetItem = 3
    Py_IncRef = 4
    Py_DecRef = 5
    PyErr_Clear = 6
    PyEval_SaveThread = 7
    PyEval_RestoreThread = 8
    PyThread_get_thread_ident = 9
    PyObject_CallNoArgs = 10
    PyArray_NewFromDescr = 11
    PyArray_View = 12
    none = 13
    dict_type = 14
    array_type = 15
    PyLong_AsLongLong = 16
    PyErr_Occurred = 17
    float_type = 18
    int_type = 19
    float32_type = 20
    float64_type = 21
    PyGILState_Ensure = 22
    PyGILState_Release = 23
    PyLong_FromVoidPtr = 24
    PyObject_CallFunctionObjArgs = 25
    PyBytes_AsString = 26
    PyList_GetItem = 27
    PyList_New = 28
    PyList_SetItem = 29
    PyList_Size = 30
    list_type = 31
    int32_type = 32
    int64_type = 33
    bool_type = 34
    true = 35
    numpy_bool_type = 36


class TensorCallWord(IntEnum):
    """Words of a call of a program with a list in which its feeds are tensors of a library."""

    HEAD = 0  # address of the program's words
    READ = 1  # the library's function of DLPack that describes a tensor
    TYPE = 2  # of a tensor, and of another kind of tensor: classes that derive from them are not
    OTHER_TYPE = 3
    FEEDS_AT = 4  # for each feed the words of a ``TensorFeedWord``
    AXES = 5  # of all feeds together


class TensorFeedWord(IntEnum):
    """Words of a feed that is a tensor."""

    PLACE = 0  # in the list
    KIND = 1  # rank and element type, as in ``TensorWord``
    ALIGNED = 2  # bits of an address that are 0
    ORDER_AT = 3  # its axes in the order of memory, the one with the greatest stride first


class TensorWord(IntEnum):
    """Words of ``DLTensor``."""

    DATA = 0
    DEVICE = 1  # its lower half the kind: 1 for memory of the CPU
    KIND = 2  # halves: rank; code of the type, its bits, lanes
    SHAPE_AT = 3
    STRIDES_AT = 4  # in elements
    OFFSET = 5  # in bytes


class ProgramWord(IntEnum):
    """Words of a program that other code calls by C functions; they outlive the program."""

    GONE = 0  # 1 when the program is no more
    CALLS_AT = 1
    IN_PYTHON = 2  # called with the address of a ``CallFrameWord`` where native code does not apply
    LOCKED = 3  # 1 where a call takes the interpreter lock, which guards its parameters
    CALL = 4  # addresses of the functions of ``native.entry.c_calls``
    EXTENTS = 5
    FEEDS = 6
    RESULTS = 7
    AXES = 8  # of all inputs together
    RANKS_AT = 9  # of the inputs
    SIZES = 10  # named sizes
    SHAPES = 11  # address of the first ``ShapesWord``, 0 for none
    VALUE = 12  # which of two results is the number of a density
    CONTEXTS = 13  # how many there are: the next words are the addresses of their ``HeadWord``
    FIRST_CONTEXT = 14


class ShapesWord(IntEnum):
    """Words of the shapes of all inputs at some sizes, which follow in order."""

    NEXT = 0
    SHAPES_AT = 1  # for each input the address of its extents
    SIZE = 2


class CallFrameWord(IntEnum):
    """Words of a call by a C function that Python takes over."""

    REQUEST = 0  # a ``Request``
    FEEDS_AT = 1  # addresses
    SHAPES_AT = 2  # addresses of extents
    RESULTS_AT = 3  # addresses; of a request for extents where they are written
    SIZES_AT = 4


class Request(IntEnum):
    """The kind of work that Python does for a call by a C function."""

    RUN = 0
    EXTENTS = 1  # write the extents of all results
    SHAPES = 2  # write the extents of all inputs at some sizes


class Status(IntEnum):
    """The result of a C function of a program: above 0 the program failed, below 0 the call."""

    DONE = 0
    INDEX = 1  # an index is out of range
    MATRIX = 2  # a matrix without the factors or the solution that the program asks for
    GRADIENT = 3  # of a density: the gradient is not finite
    VALUE = 4  # of a density: the value is not finite
    FAILED = 5  # another error of the program, as of a function that it calls
    SIZES = -1  # sizes or shapes that the program does not take
    MEMORY = -2  # no memory, or no plan within the budget
    OVERLAP = -3  # a result overlaps an input or another result
    GONE = -4  # the compiled program is no more
    INTERRUPTED = -5  # the interpreter's user stopped it


class XlaWord(IntEnum):
    """Words of a call of one program in a program of XLA."""

    HEAD = 0  # address of the program's words, 0 while runs are Python's
    CALLS_AT = 1
    IN_PYTHON = 2  # called with the address of a call where native code does not run it
    CHANGED = 3  # called first: None while the program is valid; 0 where it always is
    FEEDS_AT = 4  # for each feed the number of its operand, or -1, and then its address
    RESULTS_AT = 5  # for each result the number of the call's
    INTERRUPTED = 6  # address of a text


class FrameWord(IntEnum):
    """Words of a call of XLA's FFI: ``XLA_FFI_CallFrame`` of its C interface, version 0."""

    EXTENSION = 1
    API = 2
    STAGE = 4
    OPERANDS_AT = 9
    RESULTS_AT = 14
    ATTRIBUTES_AT = 20


class BufferWord(IntEnum):
    """Words of ``XLA_FFI_Buffer``."""

    DATA = 3
    EXTENTS_AT = 5


class ApiWord(IntEnum):
    """Words of ``XLA_FFI_Api``."""

    VERSION = 4  # two halves: major, minor
    CREATE_ERROR = 6


class ExtensionWord(IntEnum):
    """Words of ``XLA_FFI_Metadata_Extension``."""

    TYPE = 1  # its lower half
    METADATA_AT = 3


class MetadataWord(IntEnum):
    """Words of ``XLA_FFI_Metadata``."""

    VERSION = 3  # two halves: major, minor


class ObjectField(IntEnum):
    """The byte offsets of fields of objects, on the interpreters that the entry is used with."""

    REFERENCES = 0
    TYPE = 8
    DATA = 16
    VALUE = 16  # of a float, and of a scalar of NumPy's
    RANK = 24
    SHAPE = 32
    BASE = 48
    DTYPE = 56
    FLAGS = 64
