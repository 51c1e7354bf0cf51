"""The tree of an ASDF file read where it is looked at, and nowhere else.

Converting the tree of a cal file costs 0.3 s a slit, and even to parse its YAML 10 ms. ASDF writes
YAML in blocks, a key or an element a line, and the indentation tells where a node ends: so a node
is a piece of text here, and its children are found when they are asked for. Flow collections
(``[1, 2]``), which are short, go through the YAML parser.
"""

import re
from functools import lru_cache
from hashlib import sha256
from io import BytesIO

import asdf
import numpy as np
import yaml
from asdf import tagged, yamlutil
from asdf.tags.core.ndarray import asdf_datatype_to_numpy_dtype

from msa3d_steps.cube.rawfits import UnusualFileError

__all__ = ["Node", "Tree"]

HEAD = re.compile(r"(?:&\S+ ?)?(?:!(\S*) ?)?")
ALIAS = re.compile(r"\*(\w+)[ \n]*\Z")
ALIAS_IN_FLOW = re.compile(r"(?<=[\[ ,])\*(\w+)(?=[\],} \n])")
ANCHOR = re.compile(r"(?:- |: |\[|, )&(id\d+)[ \n]")
REFERENCES = (re.compile(r"\*(id\d+)"), re.compile(r"source: (\d+)"))
KEY = re.compile(r"""(?:'([^'\n]+)'|([^\s'"\[\]{},#&*!|>%@`?-][^\n]*?)):(?= |$)""", re.MULTILINE)
BELOW = re.compile(r" *\n+( *)(?=[^ \n])")
INLINE = re.compile(rf"- |{KEY.pattern}", re.MULTILINE)
HANDLE = "%TAG ! tag:stsci.edu:asdf/\n"
BLOCK_MAGIC = b"\xd3BLK"


class Tree:
    """The tree of an ASDF file.

    Parameters
    ----------
    content : bytes
        The whole file.

    Raises
    ------
    UnusualFileError
        Where it is not written as the asdf package writes it.
    """

    def __init__(self, content):
        end = content.find(b"\n...\n")
        if not content.startswith(b"#ASDF 1.") or end < 0:
            raise UnusualFileError("no ASDF file")
        self._content = content
        self._blocks_start = end + 5
        self._blocks = None
        self._nodes = {}
        self._digests = {}
        # the file is ASCII or UTF-8; places in the text need not be those in the bytes
        self.text = content[: end + 1].decode("utf-8")
        start = self.text.find("\n--- ")
        head = self.text[: start + 1]
        if start < 0 or HANDLE not in head or head.count("%TAG") != 1:
            raise UnusualFileError("unusual YAML")
        anchors = list(ANCHOR.finditer(self.text))
        self._anchors = {m[1]: m.start(1) - 1 for m in anchors}
        if len(self._anchors) != len(anchors):
            raise UnusualFileError("text that looks like an anchor")
        self.root = self.node(start + 5, len(self.text))

    def node(self, start, end):
        """Give the node that begins at a place in the text, after its key or dash."""
        alias = ALIAS.match(self.text, start, end)
        if alias:
            return self._anchored(alias[1])
        head = HEAD.match(self.text, start, end)
        return Node(self, _full_tag(head[1]), head.end(), end)

    def _anchored(self, name):
        """Give the node that an alias stands for, one and the same each time."""
        if name not in self._nodes:
            start = self._anchors.get(name)
            if start is None:
                raise UnusualFileError(f"no anchor {name}")
            before = self.text[self.text.rfind("\n", 0, start) + 1 : start]
            column = len(re.match(r" *(?:- )*", before)[0])
            if "[" in before or "{" in before:
                end = re.compile(r"[\],}\n]").search(self.text, start)
            elif before.endswith("- "):
                end = _outside(column - 2, dashes=True).search(self.text, start)
            else:
                end = _outside(column, dashes=False).search(self.text, start)
            self._nodes[name] = self.node(start, end.start() if end else len(self.text))
        return self._nodes[name]

    def flow(self, text):
        """Parse a scalar or a flow collection; its aliases stand for scalars."""
        if text.startswith(("|", ">")):
            raise UnusualFileError("a literal string")
        if text.startswith(("[", "{")) and re.search(r"[*&]id\d", text):
            if "'" in text or '"' in text:
                raise UnusualFileError("text that may look like an alias")
            text = ALIAS_IN_FLOW.sub(lambda m: self._anchored(m[1]).text, text)
            text = re.sub(r"(?<=[\[ ,])&\w+ ", "", text)
        return _parse(text)

    def digest(self, text):
        """Give a digest of text that is the same where what it stands for is the same.

        Aliases and binary blocks count by what they are, not by their names or numbers.
        """
        digest = sha256(text.encode())
        aliases, blocks = (pattern.findall(text) for pattern in REFERENCES)
        for name in [*aliases, *map(int, blocks)]:
            if name not in self._digests:
                if isinstance(name, int):
                    self._digests[name] = sha256(self.block(name)).digest()
                else:
                    node = self._anchored(name)
                    self._digests[name] = self.digest(f"{node.tag} {node.text}")
            digest.update(self._digests[name])
        return digest.digest()

    def block(self, number):
        """Give a binary block of the file."""
        if self._blocks is None:
            self._blocks = list(self._find_blocks())
        if not 0 <= number < len(self._blocks):
            raise UnusualFileError("no such block")
        start, size = self._blocks[number]
        return memoryview(self._content)[start : start + size]

    def _find_blocks(self):
        start = self._content.find(BLOCK_MAGIC, self._blocks_start)
        while start >= 0 and self._content[start : start + 4] == BLOCK_MAGIC:
            header = self._content[start + 4 : start + 54]
            if len(header) < 50:
                raise UnusualFileError("a truncated block")
            length = int.from_bytes(header[:2], "big")
            flags = int.from_bytes(header[2:6], "big")
            allocated, used, size = (int.from_bytes(header[i : i + 8], "big") for i in (10, 18, 26))
            first = start + 6 + length
            if flags or header[6:10] != b"\0\0\0\0" or used != size:
                raise UnusualFileError("a compressed or streamed block")
            if first + allocated > len(self._content):
                raise UnusualFileError("a truncated block")
            yield first, size
            start = first + allocated


class Node:
    """A node of the tree.

    Parameters
    ----------
    tree : Tree
        The tree.
    tag : str or None
        Its tag in full.
    start, end : int
        Where its text begins, after the tag, and ends.
    """

    __slots__ = ("_children", "_end", "_start", "_tree", "tag")

    def __init__(self, tree, tag, start, end):
        self._tree, self.tag, self._start, self._end = tree, tag, start, end
        self._children = None

    @property
    def text(self):
        """Its text, from its first character."""
        return self._tree.text[self._start : self._end].strip()

    @property
    def digest(self):
        """Digest of its meaning: the same in another file where the node is the same there."""
        return self._tree.digest(f"{self.tag} {self.text}")

    @property
    def kind(self):
        """Name of its tag without the version, as ``transform/shift``; empty without a tag."""
        return (
            (self.tag or "").removeprefix("tag:stsci.edu:").removeprefix("asdf/").rpartition("-")[0]
        )

    @property
    def children(self):
        """Its children: a dict of nodes, a list of nodes, or None for scalars and flow text."""
        places = self._places()
        if isinstance(places, dict):
            return {key: self._tree.node(*place) for key, place in places.items()}
        return [self._tree.node(*place) for place in places] if places else None

    @property
    def is_mapping(self):
        """Whether it is a mapping in blocks."""
        return isinstance(self._places(), dict)

    def get(self, key):
        """Give a child by its key; None where there is none."""
        places = self._places()
        place = places.get(key) if isinstance(places, dict) else None
        return self._tree.node(*place) if place else None

    def value(self):
        """Give its value, where it is a scalar or a flow collection."""
        if self._places():
            raise UnusualFileError("a value is a collection")
        return self._tree.flow(self.text)

    def number(self):
        """Give its value as a float."""
        value = self.value()
        if self.tag or not isinstance(value, (int, float)) or isinstance(value, bool):
            raise UnusualFileError("a value is no number")
        return float(value)

    def array(self):
        """Give the array of a node ``core/ndarray`` whose data are in a block of the file."""
        if self.kind != "core/ndarray" or not self.is_mapping:
            raise UnusualFileError("no array in a block")
        entry = {key: child.value() for key, child in self.children.items()}
        if not set(entry) <= {"source", "datatype", "byteorder", "shape", "offset", "strides"}:
            raise UnusualFileError("an unusual array")
        dtype = asdf_datatype_to_numpy_dtype(entry["datatype"], entry["byteorder"])
        block = self._tree.block(entry["source"])
        offset, strides = entry.get("offset", 0), entry.get("strides")
        return np.ndarray(tuple(entry["shape"]), dtype, block, offset, strides).copy()

    def converted(self, leave_out=()):
        """Give what asdf makes of the node, without some of its keys."""
        return yamlutil.tagged_tree_to_custom_tree(_plain(self, leave_out), _converter())

    def _places(self):
        """Where its children begin and end; an empty list for scalars and flow text."""
        if self._children is None:
            self._children = self._find_children()
        return self._children

    def _find_children(self):
        text, start, end = self._tree.text, self._start, self._end
        below = BELOW.match(text, start, end)
        if below:
            # the first line of a block tells how far it is indented
            column, first = below.end(1) - below.start(1), below.end()
        elif text.endswith("- ", 0, start) and INLINE.match(text, start, end):
            column, first = start - text.rfind("\n", 0, start) - 1, start
        else:
            return []
        is_sequence = text.startswith(("- ", "-\n"), first)
        breaks = list((_elements if is_sequence else _keys)(column).finditer(text, first, end))
        starts = [first, *(m.end() for m in breaks)]
        ends = [*(m.start() for m in breaks), end]
        if is_sequence:
            return [(s + 1 + (text[s + 1] == " "), e) for s, e in zip(starts, ends, strict=True)]
        places = {}
        for s, e in zip(starts, ends, strict=True):
            key = KEY.match(text, s, e)
            if key is None:
                raise UnusualFileError("an unusual key")
            after = key.end() + (text[key.end() : key.end() + 1] == " ")
            name = key[1] or (key[2] if key[2].isidentifier() else _parse(key[2]))
            places[name] = (after, e)
        return places


def _plain(node, leave_out=()):
    """Give a node as asdf's converters expect it; arrays are made already."""
    if node.kind == "core/ndarray":
        return node.array()
    children = node.children
    if isinstance(children, dict):
        value = {k: _plain(child) for k, child in children.items() if k not in leave_out}
    elif children is not None:
        value = [_plain(child) for child in children]
    else:
        value = node.value()
    return value if node.tag is None else tagged.tag_object(node.tag, value)


@lru_cache
def _keys(column):
    """Pattern of the beginning of a line of a mapping."""
    return re.compile("\n" + " " * column + r"(?=[^ \n-]|-[^ \n])")


@lru_cache
def _elements(column):
    """Pattern of the beginning of a line of a sequence."""
    return re.compile("\n" + " " * column + r"(?=-[ \n])")


@lru_cache
def _outside(column, *, dashes):
    """Pattern of the next line that is outside a node at a column; whether a dash there counts."""
    same = rf"^ {{{column}}}(?! |$)" if dashes else rf"^ {{{column}}}(?! |- |-$|$)"
    less = rf"|^ {{0,{column - 1}}}(?! |$)" if column else ""
    return re.compile(same + less, re.MULTILINE)


def _full_tag(tag):
    if not tag:
        return None
    if tag.startswith("<"):
        return tag[1:-1]
    if tag.startswith("!"):
        raise UnusualFileError("a YAML tag")
    return f"tag:stsci.edu:asdf/{tag}"


@lru_cache(maxsize=10000)
def _parse(text):
    """Parse a scalar or flow collection; callers must not change what they get."""
    head = f"%YAML 1.1\n{HANDLE}--- " if "!" in text else "--- "
    try:
        return yamlutil.load_tree(BytesIO((head + text).encode()))
    except yaml.YAMLError as err:
        raise UnusualFileError("unusual YAML") from err


@lru_cache(maxsize=1)
def _converter():
    return asdf.AsdfFile()
