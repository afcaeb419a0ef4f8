"""A section of the configuration, and how plain data (of YAML, JSON or the environment) becomes one.

Reading is lenient where a file may be: numbers and booleans may be written as texts, numbers count as texts, a key
without a value keeps its default, and keys nobody knows are kept. Everything wrong is found in one go.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from msgspec import NODEFAULT, Meta, Struct, field
from msgspec.structs import FieldInfo, fields

from cpa.config.scalars import SCALARS, one_of, text, within
from cpa.errors import ConfigError

SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:keys?|secret|token|password|headers|auth)$|(?:secret|password|authorization|proxy[_-]url)"
)
"""Names of settings whose values are not to be shown."""

Location = tuple[str | int, ...]
"""Keys and positions that lead to a value."""


class Fault(NamedTuple):
    """A value that cannot be used."""

    location: Location
    expected: str
    """``expected a whole number``"""


class InvalidSection(ConfigError):
    """Data that is no section; ``faults`` says all that is wrong with it."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, location))}: {expected}" for location, expected in faults))
        self.faults = faults


class Before(Struct, frozen=True):
    """In an annotation: what to make of a value before it is read. It may raise ValueError with what was expected."""

    tidy: Callable[[Any], Any]


class After(Struct, frozen=True):
    """In an annotation: what to make of a value that was read. It may raise ValueError with what was expected."""

    check: Callable[[Any], Any]


def kebab(name: str) -> str:
    """The key of an attribute."""
    return name.replace("_", "-")


class Unknown(dict[str, Any]):
    """Members nobody knows: they count when sections are compared, and not in the hash, which lists would not have."""

    def __hash__(self) -> int:  # type: ignore[override]
        return 0


class Section(Struct, frozen=True, kw_only=True, rename=kebab):
    """A part of the configuration: a class per section, an annotated attribute with a default per key."""

    unknown: dict[str, Any] = field(default_factory=Unknown, name="")
    """Members that no attribute stands for; the loader warns about them."""

    @classmethod
    def from_plain(cls, data: Any) -> Self:
        """The section that plain data describes. Raises InvalidSection."""
        faults: list[Fault] = []
        section = reader(cls)(data, (), faults)
        if faults:
            raise InvalidSection(faults)
        return typing.cast(Self, section)

    def plain(self, *, sparse: bool = False) -> dict[str, Any]:
        """The data that describes this section, ready for JSON; ``sparse``: without members that have their default."""
        written = {
            setting.key: to_plain(value, sparse=sparse)
            for setting in fields_of(type(self)).values()
            if (value := getattr(self, setting.name)) != setting.default() or not sparse
        }
        return {**written, **{str(key): to_plain(value) for key, value in self.unknown.items()}}

    def stated(self) -> dict[str, Any]:
        """Attributes and their values, without those that are None; sections inside are told likewise."""
        members = ((name, getattr(self, name)) for name in _names(type(self)))
        stated = ((name, value.stated() if isinstance(value, Section) else value) for name, value in members)
        return {name: value for name, value in stated if value is not None}

    def check(self) -> None:
        """Raises ValueError when the members do not go together."""

    def __repr__(self) -> str:
        """Without what must not end up in a log: secrets, and values of keys nobody knows."""
        members = [(name, getattr(self, name), bool(SECRET_NAME.search(name))) for name in _names(type(self))]
        members += [(name, value, True) for name, value in self.unknown.items()]
        shown = (f"{name}={'...' if hidden and value else repr(value)}" for name, value, hidden in members)
        return f"{type(self).__name__}({', '.join(shown)})"


class Setting(Struct, frozen=True):
    """One key of a section."""

    key: str
    name: str
    """Of the attribute."""
    annotation: Any
    """The type, without what else the annotation says."""
    whole_annotation: Any
    required: bool
    default: Callable[[], Any]
    """Makes the default; None for a required key."""

    @property
    def written_default(self) -> Any:
        """The default as a file would say it."""
        marks = typing.get_args(self.whole_annotation)[1:]
        said = (mark.extra_json_schema for mark in marks if isinstance(mark, Meta) and mark.extra_json_schema)
        return next((schema["default"] for schema in said), None) or self.default()


@lru_cache(maxsize=128)
def fields_of(section: type[Section]) -> dict[str, Setting]:
    """Key as written -> setting, in the order of declaration."""
    return {info.encode_name: _setting(info) for info in fields(section) if info.encode_name}


def _names(section: type[Section]) -> list[str]:
    """The attributes that stand for keys."""
    return [setting.name for setting in fields_of(section).values()]


def _setting(info: FieldInfo) -> Setting:
    default, factory = info.default, info.default_factory
    return Setting(
        key=info.encode_name,
        name=info.name,
        annotation=_bare(info.type),
        whole_annotation=info.type,
        required=info.required,
        default=(lambda: None if default is NODEFAULT else default) if factory is NODEFAULT else factory,
    )


def _bare(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation


def to_plain(value: Any, *, sparse: bool = False) -> Any:
    """A value of a section as data that is ready for JSON."""
    if isinstance(value, Section):
        return value.plain(sparse=sparse)
    if isinstance(value, Mapping):
        return {str(key): to_plain(inner, sparse=sparse) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(inner, sparse=sparse) for inner in value]
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value


Reader = Callable[[Any, Location, list[Fault]], Any]
"""Makes a value of data at a location; what is wrong is added to the list, and the value is of no use then."""

A_MAPPING = "expected a mapping of keys to values"
A_LIST = "expected a list"


@lru_cache(maxsize=512)
def reader(annotation: Any) -> Reader:
    """What reads values of a type."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _marked(reader(parts[0]), parts[1:])
    if origin is Literal:
        return _leaf(one_of(parts))
    if origin is tuple:
        return _items(reader(parts[0]))
    if origin is dict:
        return _mapping(reader(parts[1]))
    if origin in (typing.Union, types.UnionType):
        return _union(parts)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return _section(annotation)
    return _leaf(SCALARS[annotation])


def _section(kind: type[Section]) -> Reader:
    members = [(setting, reader(setting.whole_annotation)) for setting in fields_of(kind).values()]

    def read(data: Any, location: Location, faults: list[Fault]) -> Any:
        if isinstance(data, kind):
            return data
        if not isinstance(data, Mapping):
            return faults.append(Fault(location, A_MAPPING))
        rest = Unknown((key, value) for key, value in data.items() if value is not None)
        known = len(faults)
        values = {}
        for setting, read_member in members:
            key = setting.key if setting.key in rest else setting.name
            if key in rest:
                values[setting.name] = read_member(rest.pop(key), (*location, key), faults)
            elif setting.required:
                faults.append(Fault((*location, key), f"{setting.key} is missing"))
        if len(faults) > known:
            return None
        section = kind(unknown=rest, **values)
        try:
            section.check()
        except ValueError as fault:
            faults.append(Fault(location, str(fault)))
        return section

    return read


def _marked(read_inside: Reader, marks: tuple[Any, ...]) -> Reader:
    """A reader that tidies before and checks after another one."""
    before = [mark.tidy for mark in marks if isinstance(mark, Before)]
    after = [mark.check if isinstance(mark, After) else within(mark) for mark in marks if not isinstance(mark, Before)]

    def read(data: Any, location: Location, faults: list[Fault]) -> Any:
        known = len(faults)
        try:
            for tidy in before:
                data = tidy(data)
            value = read_inside(data, location, faults)
            for check in after if len(faults) == known else ():
                value = check(value)
        except ValueError as fault:
            return faults.append(Fault(location, str(fault)))
        return value

    return read


def _items(read_item: Reader) -> Reader:
    def read(data: Any, location: Location, faults: list[Fault]) -> Any:
        if not isinstance(data, list | tuple):
            return faults.append(Fault(location, A_LIST))
        return tuple([read_item(item, (*location, index), faults) for index, item in enumerate(data)])

    return read


def _mapping(read_value: Reader) -> Reader:
    def read(data: Any, location: Location, faults: list[Fault]) -> Any:
        if not isinstance(data, Mapping):
            return faults.append(Fault(location, A_MAPPING))
        return {text(key): read_value(value, (*location, key), faults) for key, value in data.items()}

    return read


def _union(parts: tuple[Any, ...]) -> Reader:
    """Reads the member whose shape the data has: a mapping, a list, or neither."""
    by_shape: dict[type | None, Reader] = {}
    for part in parts:
        by_shape.setdefault(_shape_of_type(part), reader(part))
    shapes = [shape for shape in by_shape if shape is not None]
    names = " or ".join(_SHAPES[shape] for shape in shapes)

    def read(data: Any, location: Location, faults: list[Fault]) -> Any:
        read_inside = by_shape.get(_shape_of_data(data))
        if read_inside is None and len(shapes) > 1:
            return faults.append(Fault(location, f"expected {names}"))
        return (read_inside or by_shape[shapes[0]])(data, location, faults)

    return read


_SHAPES: dict[Any, str] = {dict: "a mapping of keys to values", tuple: "a list", str: "a text"}


def _shape_of_type(kind: Any) -> type | None:
    bare = _bare(kind)
    if bare is types.NoneType:
        return None
    if typing.get_origin(bare) in (dict, tuple):
        return dict if typing.get_origin(bare) is dict else tuple
    return dict if isinstance(bare, type) and issubclass(bare, Section) else str


def _shape_of_data(data: Any) -> type | None:
    if data is None:
        return None
    if isinstance(data, Mapping | Section):
        return dict
    return tuple if isinstance(data, list | tuple) else str


def _leaf(convert: Callable[[Any], Any]) -> Reader:
    def read(data: Any, location: Location, faults: list[Fault]) -> Any:
        try:
            return convert(data)
        except (ValueError, OverflowError) as fault:
            return faults.append(Fault(location, str(fault)))

    return read
