"""Stand-ins for the objects of numpy, pandas and pyarrow in a pickle.

Unpickling makes a `Record` of each such object: the arguments and the state that the pickle gives. No code
of these libraries runs, because some of it trusts what it is given: a `numpy.dtype` with a forged state reads
and writes memory that is not its own. `unpickle_arrays.py` and `unpickle_frames.py` read the records
afterwards.
"""


class Refused(Exception):
    """The reason why a file is not converted."""


class Record:
    """What a pickle says of one object. The subclass says of which class it is."""

    __slots__ = ("args", "state")

    def __new__(cls, *args):
        self = object.__new__(cls)
        self.args, self.state = args, None
        return self

    def __setstate__(self, state):
        self.state = state


OFFSETS = """BusinessDay BusinessMonthBegin BusinessMonthEnd BQuarterBegin BQuarterEnd BYearBegin BYearEnd Day
    Hour Micro Milli Minute MonthBegin MonthEnd Nano QuarterBegin QuarterEnd Second SemiMonthBegin
    SemiMonthEnd Week YearBegin YearEnd"""
NUMBERS = """Float32Dtype Float64Dtype Int16Dtype Int32Dtype Int64Dtype Int8Dtype UInt16Dtype UInt32Dtype
    UInt64Dtype UInt8Dtype"""
# The exact names of which records are made, by module.
NAMES = {
    "numpy": "dtype ndarray",
    "numpy.core.multiarray": "_reconstruct scalar",
    "numpy.core.numeric": "_frombuffer",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy._core.numeric": "_frombuffer",
    "pandas": f"""ArrowDtype BooleanDtype Categorical CategoricalDtype CategoricalIndex DataFrame
        DatetimeIndex DatetimeTZDtype Index Interval IntervalIndex MultiIndex Period PeriodDtype PeriodIndex
        RangeIndex Series StringDtype TimedeltaIndex {NUMBERS}""",
    "pandas.arrays": """ArrowExtensionArray ArrowStringArray BooleanArray DatetimeArray FloatingArray
        IntegerArray PeriodArray StringArray TimedeltaArray""",
    "pandas._libs.arrays": "__pyx_unpickle_NDArrayBacked",
    "pandas._libs.internals": "_unpickle_block",
    "pandas._libs.interval": "Interval",
    "pandas._libs.tslibs.nattype": "_nat_unpickle __nat_unpickle",
    "pandas._libs.tslibs.offsets": OFFSETS,
    "pandas._libs.tslibs.period": "Period",
    "pandas._libs.tslibs.timedeltas": "_timedelta_unpickle",
    "pandas._libs.tslibs.timestamps": "_unpickle_timestamp",
    "pandas.core.arrays.arrow.array": "ArrowExtensionArray",
    "pandas.core.arrays.boolean": "BooleanArray BooleanDtype",
    "pandas.core.arrays.categorical": "Categorical",
    "pandas.core.arrays.datetimes": "DatetimeArray",
    "pandas.core.arrays.floating": f"FloatingArray {NUMBERS}",
    "pandas.core.arrays.integer": f"IntegerArray {NUMBERS}",
    "pandas.core.arrays.period": "PeriodArray",
    "pandas.core.arrays.string_": "StringArray StringDtype",
    "pandas.core.arrays.string_arrow": "ArrowStringArray",
    "pandas.core.arrays.timedeltas": "TimedeltaArray",
    "pandas.core.dtypes.dtypes": "ArrowDtype CategoricalDtype DatetimeTZDtype PeriodDtype",
    "pandas.core.frame": "DataFrame",
    "pandas.core.indexes.base": "Index _new_Index",
    "pandas.core.indexes.category": "CategoricalIndex",
    "pandas.core.indexes.datetimes": "DatetimeIndex _new_DatetimeIndex",
    "pandas.core.indexes.interval": "IntervalIndex _new_IntervalIndex",
    "pandas.core.indexes.multi": "MultiIndex",
    "pandas.core.indexes.numeric": "Float64Index Int64Index UInt64Index",
    "pandas.core.indexes.period": "PeriodIndex _new_PeriodIndex",
    "pandas.core.indexes.range": "RangeIndex",
    "pandas.core.indexes.timedeltas": "TimedeltaIndex _new_TimedeltaIndex",
    "pandas.core.internals.managers": "BlockManager SingleBlockManager",
    "pandas.core.series": "Series",
    "pyarrow.lib": "_restore_array py_buffer type_for_alias",
}
RECORDS = {
    (module, name): type(name, (Record,), {"__slots__": (), "__module__": module})
    for module, names in NAMES.items()
    for name in names.split()
}


def kind(value):
    return type(value).__name__ if isinstance(value, Record) else None


def refuse(value):
    cls = type(value)
    raise Refused(f"contains a {cls.__module__}.{cls.__name__}, which is not converted")
