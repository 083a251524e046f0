"""Code of ``__init__`` by the forms of a record's fields: ``records`` gives names.

Written by ``python -m tests.record_forms`` for the classes of the package: ``g`` is a field that
is given, ``o`` one that is made where it is not, ``a`` one that is always made. ``_record_put``
and the other names that are not defined here are those of the class.
"""


def _frozen_(self):
    _record_put(self, '__dict__', {})


def _frozen_g(self, _record_0):
    _record_put(self, '__dict__', {'_record_0': _record_0})


def _frozen_g_followed(self, _record_0):
    _record_put(self, '__dict__', {'_record_0': _record_0})
    self.__post_init__()


def _frozen_gg(self, _record_0, _record_1):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1})


def _frozen_gg_followed(self, _record_0, _record_1):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1})
    self.__post_init__()


def _frozen_ggg(self, _record_0, _record_1, _record_2):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2})


def _frozen_ggg_followed(self, _record_0, _record_1, _record_2):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2})
    self.__post_init__()


def _frozen_ggga(self, _record_0, _record_1, _record_2):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_make_3()})


def _frozen_gggg(self, _record_0, _record_1, _record_2, _record_3):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3})


def _frozen_gggg_followed(self, _record_0, _record_1, _record_2, _record_3):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3})
    self.__post_init__()


def _frozen_ggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4})


def _frozen_ggggg_followed(self, _record_0, _record_1, _record_2, _record_3, _record_4):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4})
    self.__post_init__()


def _frozen_gggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5})


def _frozen_gggggg_followed(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5})
    self.__post_init__()


def _frozen_ggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6})


def _frozen_ggggggg_followed(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6})
    self.__post_init__()


def _frozen_gggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7})


def _frozen_gggggggg_followed(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7})
    self.__post_init__()


def _frozen_ggggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7, '_record_8': _record_8})


def _frozen_gggggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7, '_record_8': _record_8, '_record_9': _record_9})


def _frozen_ggggggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7, '_record_8': _record_8, '_record_9': _record_9, '_record_10': _record_10})


def _frozen_gggggggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7, '_record_8': _record_8, '_record_9': _record_9, '_record_10': _record_10, '_record_11': _record_11})


def _frozen_ggggggggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11, _record_12):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7, '_record_8': _record_8, '_record_9': _record_9, '_record_10': _record_10, '_record_11': _record_11, '_record_12': _record_12})


def _frozen_gggggggggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11, _record_12, _record_13):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7, '_record_8': _record_8, '_record_9': _record_9, '_record_10': _record_10, '_record_11': _record_11, '_record_12': _record_12, '_record_13': _record_13})


def _frozen_ggggggggggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11, _record_12, _record_13, _record_14):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7, '_record_8': _record_8, '_record_9': _record_9, '_record_10': _record_10, '_record_11': _record_11, '_record_12': _record_12, '_record_13': _record_13, '_record_14': _record_14})


def _frozen_ggggggggggggggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11, _record_12, _record_13, _record_14, _record_15, _record_16, _record_17, _record_18):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7, '_record_8': _record_8, '_record_9': _record_9, '_record_10': _record_10, '_record_11': _record_11, '_record_12': _record_12, '_record_13': _record_13, '_record_14': _record_14, '_record_15': _record_15, '_record_16': _record_16, '_record_17': _record_17, '_record_18': _record_18})


def _frozen_ggggggggggggggggggggggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11, _record_12, _record_13, _record_14, _record_15, _record_16, _record_17, _record_18, _record_19, _record_20, _record_21, _record_22, _record_23, _record_24, _record_25, _record_26):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7, '_record_8': _record_8, '_record_9': _record_9, '_record_10': _record_10, '_record_11': _record_11, '_record_12': _record_12, '_record_13': _record_13, '_record_14': _record_14, '_record_15': _record_15, '_record_16': _record_16, '_record_17': _record_17, '_record_18': _record_18, '_record_19': _record_19, '_record_20': _record_20, '_record_21': _record_21, '_record_22': _record_22, '_record_23': _record_23, '_record_24': _record_24, '_record_25': _record_25, '_record_26': _record_26})


def _frozen_ggggggggggggggggggggggggggggggggggggggggggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11, _record_12, _record_13, _record_14, _record_15, _record_16, _record_17, _record_18, _record_19, _record_20, _record_21, _record_22, _record_23, _record_24, _record_25, _record_26, _record_27, _record_28, _record_29, _record_30, _record_31, _record_32, _record_33, _record_34, _record_35, _record_36, _record_37, _record_38, _record_39, _record_40, _record_41, _record_42, _record_43, _record_44, _record_45, _record_46):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7, '_record_8': _record_8, '_record_9': _record_9, '_record_10': _record_10, '_record_11': _record_11, '_record_12': _record_12, '_record_13': _record_13, '_record_14': _record_14, '_record_15': _record_15, '_record_16': _record_16, '_record_17': _record_17, '_record_18': _record_18, '_record_19': _record_19, '_record_20': _record_20, '_record_21': _record_21, '_record_22': _record_22, '_record_23': _record_23, '_record_24': _record_24, '_record_25': _record_25, '_record_26': _record_26, '_record_27': _record_27, '_record_28': _record_28, '_record_29': _record_29, '_record_30': _record_30, '_record_31': _record_31, '_record_32': _record_32, '_record_33': _record_33, '_record_34': _record_34, '_record_35': _record_35, '_record_36': _record_36, '_record_37': _record_37, '_record_38': _record_38, '_record_39': _record_39, '_record_40': _record_40, '_record_41': _record_41, '_record_42': _record_42, '_record_43': _record_43, '_record_44': _record_44, '_record_45': _record_45, '_record_46': _record_46})


def _frozen_gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11, _record_12, _record_13, _record_14, _record_15, _record_16, _record_17, _record_18, _record_19, _record_20, _record_21, _record_22, _record_23, _record_24, _record_25, _record_26, _record_27, _record_28, _record_29, _record_30, _record_31, _record_32, _record_33, _record_34, _record_35, _record_36, _record_37, _record_38, _record_39, _record_40, _record_41, _record_42, _record_43, _record_44, _record_45, _record_46, _record_47, _record_48, _record_49, _record_50, _record_51, _record_52, _record_53, _record_54, _record_55, _record_56, _record_57, _record_58, _record_59):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7, '_record_8': _record_8, '_record_9': _record_9, '_record_10': _record_10, '_record_11': _record_11, '_record_12': _record_12, '_record_13': _record_13, '_record_14': _record_14, '_record_15': _record_15, '_record_16': _record_16, '_record_17': _record_17, '_record_18': _record_18, '_record_19': _record_19, '_record_20': _record_20, '_record_21': _record_21, '_record_22': _record_22, '_record_23': _record_23, '_record_24': _record_24, '_record_25': _record_25, '_record_26': _record_26, '_record_27': _record_27, '_record_28': _record_28, '_record_29': _record_29, '_record_30': _record_30, '_record_31': _record_31, '_record_32': _record_32, '_record_33': _record_33, '_record_34': _record_34, '_record_35': _record_35, '_record_36': _record_36, '_record_37': _record_37, '_record_38': _record_38, '_record_39': _record_39, '_record_40': _record_40, '_record_41': _record_41, '_record_42': _record_42, '_record_43': _record_43, '_record_44': _record_44, '_record_45': _record_45, '_record_46': _record_46, '_record_47': _record_47, '_record_48': _record_48, '_record_49': _record_49, '_record_50': _record_50, '_record_51': _record_51, '_record_52': _record_52, '_record_53': _record_53, '_record_54': _record_54, '_record_55': _record_55, '_record_56': _record_56, '_record_57': _record_57, '_record_58': _record_58, '_record_59': _record_59})


def _frozen_ggggggggggo(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7, '_record_8': _record_8, '_record_9': _record_9, '_record_10': _record_make_10() if _record_10 is _record_missing else _record_10})


def _frozen_ggggggggogggggooggoggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11, _record_12, _record_13, _record_14, _record_15, _record_16, _record_17, _record_18, _record_19, _record_20, _record_21, _record_22, _record_23):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_5, '_record_6': _record_6, '_record_7': _record_7, '_record_8': _record_make_8() if _record_8 is _record_missing else _record_8, '_record_9': _record_9, '_record_10': _record_10, '_record_11': _record_11, '_record_12': _record_12, '_record_13': _record_13, '_record_14': _record_make_14() if _record_14 is _record_missing else _record_14, '_record_15': _record_make_15() if _record_15 is _record_missing else _record_15, '_record_16': _record_16, '_record_17': _record_17, '_record_18': _record_make_18() if _record_18 is _record_missing else _record_18, '_record_19': _record_19, '_record_20': _record_20, '_record_21': _record_21, '_record_22': _record_22, '_record_23': _record_23})


def _frozen_gggggog(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_4, '_record_5': _record_make_5() if _record_5 is _record_missing else _record_5, '_record_6': _record_6})


def _frozen_ggggo(self, _record_0, _record_1, _record_2, _record_3, _record_4):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_make_4() if _record_4 is _record_missing else _record_4})


def _frozen_ggggoa(self, _record_0, _record_1, _record_2, _record_3, _record_4):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_make_4() if _record_4 is _record_missing else _record_4, '_record_5': _record_make_5()})


def _frozen_ggggoog(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_3, '_record_4': _record_make_4() if _record_4 is _record_missing else _record_4, '_record_5': _record_make_5() if _record_5 is _record_missing else _record_5, '_record_6': _record_6})


def _frozen_gggogo(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5):
    _record_put(self, '__dict__', {'_record_0': _record_0, '_record_1': _record_1, '_record_2': _record_2, '_record_3': _record_make_3() if _record_3 is _record_missing else _record_3, '_record_4': _record_4, '_record_5': _record_make_5() if _record_5 is _record_missing else _record_5})


def _frozen_og(self, _record_0, _record_1):
    _record_put(self, '__dict__', {'_record_0': _record_make_0() if _record_0 is _record_missing else _record_0, '_record_1': _record_1})


def _frozen_ogo(self, _record_0, _record_1, _record_2):
    _record_put(self, '__dict__', {'_record_0': _record_make_0() if _record_0 is _record_missing else _record_0, '_record_1': _record_1, '_record_2': _record_make_2() if _record_2 is _record_missing else _record_2})


def _open_gg(self, _record_0, _record_1):
    self._record_0 = _record_0
    self._record_1 = _record_1


def _open_ggg(self, _record_0, _record_1, _record_2):
    self._record_0 = _record_0
    self._record_1 = _record_1
    self._record_2 = _record_2


def _open_ggg_followed(self, _record_0, _record_1, _record_2):
    self._record_0 = _record_0
    self._record_1 = _record_1
    self._record_2 = _record_2
    self.__post_init__()


def _open_gggg(self, _record_0, _record_1, _record_2, _record_3):
    self._record_0 = _record_0
    self._record_1 = _record_1
    self._record_2 = _record_2
    self._record_3 = _record_3


def _open_ggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4):
    self._record_0 = _record_0
    self._record_1 = _record_1
    self._record_2 = _record_2
    self._record_3 = _record_3
    self._record_4 = _record_4


def _open_gggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7):
    self._record_0 = _record_0
    self._record_1 = _record_1
    self._record_2 = _record_2
    self._record_3 = _record_3
    self._record_4 = _record_4
    self._record_5 = _record_5
    self._record_6 = _record_6
    self._record_7 = _record_7


def _open_gggggggggggggoggooooooooooog_followed(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11, _record_12, _record_13, _record_14, _record_15, _record_16, _record_17, _record_18, _record_19, _record_20, _record_21, _record_22, _record_23, _record_24, _record_25, _record_26, _record_27):
    self._record_0 = _record_0
    self._record_1 = _record_1
    self._record_2 = _record_2
    self._record_3 = _record_3
    self._record_4 = _record_4
    self._record_5 = _record_5
    self._record_6 = _record_6
    self._record_7 = _record_7
    self._record_8 = _record_8
    self._record_9 = _record_9
    self._record_10 = _record_10
    self._record_11 = _record_11
    self._record_12 = _record_12
    self._record_13 = _record_make_13() if _record_13 is _record_missing else _record_13
    self._record_14 = _record_14
    self._record_15 = _record_15
    self._record_16 = _record_make_16() if _record_16 is _record_missing else _record_16
    self._record_17 = _record_make_17() if _record_17 is _record_missing else _record_17
    self._record_18 = _record_make_18() if _record_18 is _record_missing else _record_18
    self._record_19 = _record_make_19() if _record_19 is _record_missing else _record_19
    self._record_20 = _record_make_20() if _record_20 is _record_missing else _record_20
    self._record_21 = _record_make_21() if _record_21 is _record_missing else _record_21
    self._record_22 = _record_make_22() if _record_22 is _record_missing else _record_22
    self._record_23 = _record_make_23() if _record_23 is _record_missing else _record_23
    self._record_24 = _record_make_24() if _record_24 is _record_missing else _record_24
    self._record_25 = _record_make_25() if _record_25 is _record_missing else _record_25
    self._record_26 = _record_make_26() if _record_26 is _record_missing else _record_26
    self._record_27 = _record_27
    self.__post_init__()


def _open_ggggggo(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6):
    self._record_0 = _record_0
    self._record_1 = _record_1
    self._record_2 = _record_2
    self._record_3 = _record_3
    self._record_4 = _record_4
    self._record_5 = _record_5
    self._record_6 = _record_make_6() if _record_6 is _record_missing else _record_6


def _open_gggggoggogggogoggoog(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11, _record_12, _record_13, _record_14, _record_15, _record_16, _record_17, _record_18, _record_19):
    self._record_0 = _record_0
    self._record_1 = _record_1
    self._record_2 = _record_2
    self._record_3 = _record_3
    self._record_4 = _record_4
    self._record_5 = _record_make_5() if _record_5 is _record_missing else _record_5
    self._record_6 = _record_6
    self._record_7 = _record_7
    self._record_8 = _record_make_8() if _record_8 is _record_missing else _record_8
    self._record_9 = _record_9
    self._record_10 = _record_10
    self._record_11 = _record_11
    self._record_12 = _record_make_12() if _record_12 is _record_missing else _record_12
    self._record_13 = _record_13
    self._record_14 = _record_make_14() if _record_14 is _record_missing else _record_14
    self._record_15 = _record_15
    self._record_16 = _record_16
    self._record_17 = _record_make_17() if _record_17 is _record_missing else _record_17
    self._record_18 = _record_make_18() if _record_18 is _record_missing else _record_18
    self._record_19 = _record_19


def _open_ggggo_followed(self, _record_0, _record_1, _record_2, _record_3, _record_4):
    self._record_0 = _record_0
    self._record_1 = _record_1
    self._record_2 = _record_2
    self._record_3 = _record_3
    self._record_4 = _record_make_4() if _record_4 is _record_missing else _record_4
    self.__post_init__()


def _open_ggooooooooooooo(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11, _record_12, _record_13, _record_14):
    self._record_0 = _record_0
    self._record_1 = _record_1
    self._record_2 = _record_make_2() if _record_2 is _record_missing else _record_2
    self._record_3 = _record_make_3() if _record_3 is _record_missing else _record_3
    self._record_4 = _record_make_4() if _record_4 is _record_missing else _record_4
    self._record_5 = _record_make_5() if _record_5 is _record_missing else _record_5
    self._record_6 = _record_make_6() if _record_6 is _record_missing else _record_6
    self._record_7 = _record_make_7() if _record_7 is _record_missing else _record_7
    self._record_8 = _record_make_8() if _record_8 is _record_missing else _record_8
    self._record_9 = _record_make_9() if _record_9 is _record_missing else _record_9
    self._record_10 = _record_make_10() if _record_10 is _record_missing else _record_10
    self._record_11 = _record_make_11() if _record_11 is _record_missing else _record_11
    self._record_12 = _record_make_12() if _record_12 is _record_missing else _record_12
    self._record_13 = _record_make_13() if _record_13 is _record_missing else _record_13
    self._record_14 = _record_make_14() if _record_14 is _record_missing else _record_14


def _open_ggoooooooooooooggo_followed(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11, _record_12, _record_13, _record_14, _record_15, _record_16, _record_17):
    self._record_0 = _record_0
    self._record_1 = _record_1
    self._record_2 = _record_make_2() if _record_2 is _record_missing else _record_2
    self._record_3 = _record_make_3() if _record_3 is _record_missing else _record_3
    self._record_4 = _record_make_4() if _record_4 is _record_missing else _record_4
    self._record_5 = _record_make_5() if _record_5 is _record_missing else _record_5
    self._record_6 = _record_make_6() if _record_6 is _record_missing else _record_6
    self._record_7 = _record_make_7() if _record_7 is _record_missing else _record_7
    self._record_8 = _record_make_8() if _record_8 is _record_missing else _record_8
    self._record_9 = _record_make_9() if _record_9 is _record_missing else _record_9
    self._record_10 = _record_make_10() if _record_10 is _record_missing else _record_10
    self._record_11 = _record_make_11() if _record_11 is _record_missing else _record_11
    self._record_12 = _record_make_12() if _record_12 is _record_missing else _record_12
    self._record_13 = _record_make_13() if _record_13 is _record_missing else _record_13
    self._record_14 = _record_make_14() if _record_14 is _record_missing else _record_14
    self._record_15 = _record_15
    self._record_16 = _record_16
    self._record_17 = _record_make_17() if _record_17 is _record_missing else _record_17
    self.__post_init__()


def _open_ggoooooooooooooggoo(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6, _record_7, _record_8, _record_9, _record_10, _record_11, _record_12, _record_13, _record_14, _record_15, _record_16, _record_17, _record_18):
    self._record_0 = _record_0
    self._record_1 = _record_1
    self._record_2 = _record_make_2() if _record_2 is _record_missing else _record_2
    self._record_3 = _record_make_3() if _record_3 is _record_missing else _record_3
    self._record_4 = _record_make_4() if _record_4 is _record_missing else _record_4
    self._record_5 = _record_make_5() if _record_5 is _record_missing else _record_5
    self._record_6 = _record_make_6() if _record_6 is _record_missing else _record_6
    self._record_7 = _record_make_7() if _record_7 is _record_missing else _record_7
    self._record_8 = _record_make_8() if _record_8 is _record_missing else _record_8
    self._record_9 = _record_make_9() if _record_9 is _record_missing else _record_9
    self._record_10 = _record_make_10() if _record_10 is _record_missing else _record_10
    self._record_11 = _record_make_11() if _record_11 is _record_missing else _record_11
    self._record_12 = _record_make_12() if _record_12 is _record_missing else _record_12
    self._record_13 = _record_make_13() if _record_13 is _record_missing else _record_13
    self._record_14 = _record_make_14() if _record_14 is _record_missing else _record_14
    self._record_15 = _record_15
    self._record_16 = _record_16
    self._record_17 = _record_make_17() if _record_17 is _record_missing else _record_17
    self._record_18 = _record_make_18() if _record_18 is _record_missing else _record_18


def _open_gooo_followed(self, _record_0, _record_1, _record_2, _record_3):
    self._record_0 = _record_0
    self._record_1 = _record_make_1() if _record_1 is _record_missing else _record_1
    self._record_2 = _record_make_2() if _record_2 is _record_missing else _record_2
    self._record_3 = _record_make_3() if _record_3 is _record_missing else _record_3
    self.__post_init__()


def _open_goooooo(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6):
    self._record_0 = _record_0
    self._record_1 = _record_make_1() if _record_1 is _record_missing else _record_1
    self._record_2 = _record_make_2() if _record_2 is _record_missing else _record_2
    self._record_3 = _record_make_3() if _record_3 is _record_missing else _record_3
    self._record_4 = _record_make_4() if _record_4 is _record_missing else _record_4
    self._record_5 = _record_make_5() if _record_5 is _record_missing else _record_5
    self._record_6 = _record_make_6() if _record_6 is _record_missing else _record_6


def _open_oggooo(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5):
    self._record_0 = _record_make_0() if _record_0 is _record_missing else _record_0
    self._record_1 = _record_1
    self._record_2 = _record_2
    self._record_3 = _record_make_3() if _record_3 is _record_missing else _record_3
    self._record_4 = _record_make_4() if _record_4 is _record_missing else _record_4
    self._record_5 = _record_make_5() if _record_5 is _record_missing else _record_5


def _open_oo(self, _record_0, _record_1):
    self._record_0 = _record_make_0() if _record_0 is _record_missing else _record_0
    self._record_1 = _record_make_1() if _record_1 is _record_missing else _record_1


def _open_oogo(self, _record_0, _record_1, _record_2, _record_3):
    self._record_0 = _record_make_0() if _record_0 is _record_missing else _record_0
    self._record_1 = _record_make_1() if _record_1 is _record_missing else _record_1
    self._record_2 = _record_2
    self._record_3 = _record_make_3() if _record_3 is _record_missing else _record_3


def _slots_g(self, _record_0):
    _record_put(self, '_record_0', _record_0)


def _slots_gg(self, _record_0, _record_1):
    _record_put(self, '_record_0', _record_0)
    _record_put(self, '_record_1', _record_1)


def _slots_ggg(self, _record_0, _record_1, _record_2):
    _record_put(self, '_record_0', _record_0)
    _record_put(self, '_record_1', _record_1)
    _record_put(self, '_record_2', _record_2)


def _slots_ggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4):
    _record_put(self, '_record_0', _record_0)
    _record_put(self, '_record_1', _record_1)
    _record_put(self, '_record_2', _record_2)
    _record_put(self, '_record_3', _record_3)
    _record_put(self, '_record_4', _record_4)


def _slots_ggggggg(self, _record_0, _record_1, _record_2, _record_3, _record_4, _record_5, _record_6):
    _record_put(self, '_record_0', _record_0)
    _record_put(self, '_record_1', _record_1)
    _record_put(self, '_record_2', _record_2)
    _record_put(self, '_record_3', _record_3)
    _record_put(self, '_record_4', _record_4)
    _record_put(self, '_record_5', _record_5)
    _record_put(self, '_record_6', _record_6)
