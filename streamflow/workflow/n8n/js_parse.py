"""A Pratt parser for the JavaScript expressions that stand in n8n's parameters."""

from __future__ import annotations

from streamflow.workflow.n8n.js_tokens import Token, tokens
from streamflow.workflow.n8n.js_tree import (
    Arrow,
    Binary,
    Call,
    Choice,
    Fields,
    Index,
    Items,
    Js,
    Literal,
    Member,
    Name,
    Pattern,
    Text,
    Unary,
    children,
)
from streamflow.workflow.n8n.problems import NoEquivalent

DEPTH_MAX = 40  # brackets and operators inside each other
TREE_DEPTH_MAX = 80

# Binding power of what stands between two values; `**` and `=>` bind to the right.
_BINARY = {
    "??": 4, "||": 5, "&&": 6, "|": 7, "^": 8, "&": 9, "==": 10, "!=": 10, "===": 10, "!==": 10, "<": 11, ">": 11,
    "<=": 11, ">=": 11, "in": 11, "instanceof": 11, "<<": 12, ">>": 12, ">>>": 12, "+": 13, "-": 13, "*": 14, "/": 14,
    "%": 14, "**": 15,
}  # fmt: skip
_CHOICE, _PREFIX, _POSTFIX = 3, 16, 18
_CONSTANTS = {"true": True, "false": False, "null": None, "undefined": None}
_STATEMENTS = frozenset(
    ("function", "return", "const", "let", "var", "if", "for", "while", "class", "async", "await", "yield", "throw",
     "try", "switch", "delete", "void")
)  # fmt: skip


def parse(text: str, depth: int = 0) -> Js:
    """The tree of a whole expression; one `;` may follow it.

    Raises:
        NoEquivalent: it is no expression, or longer or deeper than what is read.
    """
    parser = _Parser(tokens(text), depth)
    tree = parser.value(0)
    if parser.is_sign(";"):
        parser.take()
    if parser.here.kind != "end":
        raise NoEquivalent(f"something that is no expression, at {parser.here.text[:30]!r}")
    _check_depth(tree)
    return tree


def _check_depth(tree: Js) -> None:
    """Chains such as `a + b + c` are read in a loop, but walked through level by level."""
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > TREE_DEPTH_MAX:
            raise NoEquivalent(f"an expression of more than {TREE_DEPTH_MAX} levels")
        level = [inner for one in level for inner in children(one)]


class _Parser:
    def __init__(self, found: list[Token], depth: int) -> None:
        self.tokens, self.at, self.depth = found, 0, depth

    @property
    def here(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.here
        self.at += token.kind != "end"
        return token

    def is_sign(self, *signs: str) -> bool:
        return self.here.kind == "sign" and self.here.text in signs

    def expect(self, sign: str) -> None:
        if not self.is_sign(sign):
            found = self.here.text[:30] or "the end"
            raise NoEquivalent(f"{sign!r} is missing in an expression, at {found!r}")
        self.take()

    def value(self, power: int) -> Js:
        """An expression whose operators bind more tightly than `power`."""
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise NoEquivalent(f"an expression of more than {DEPTH_MAX} levels")
        left = self.prefix()
        while True:
            token = self.here
            if token.kind == "sign" and token.text in (".", "?.", "[", "("):
                left = self.postfix(left)
                continue
            if token.kind == "template":
                raise NoEquivalent("a tagged template")
            sign = token.text if token.kind == "sign" or token.text in ("in", "instanceof") else ""
            if sign == "?" and power < _CHOICE:
                left = self.choice(left)
                continue
            bound = _BINARY.get(sign, 0)
            if bound <= power:
                if (sign.endswith("=") and sign not in _BINARY) or sign in ("++", "--"):
                    raise NoEquivalent(f"an assignment ({sign})")
                break
            self.take()
            right = self.value(bound - 1 if sign == "**" else bound)
            left = Binary(at=token.at, sign=sign, left=left, right=right)
        self.depth -= 1
        return left

    def choice(self, test: Js) -> Js:
        at = self.take().at
        yes = self.value(0)
        self.expect(":")
        return Choice(at=at, test=test, yes=yes, no=self.value(_CHOICE - 1))

    def prefix(self) -> Js:
        token = self.take()
        match token.kind:
            case "number" | "text":
                assert isinstance(token.value, str | int | float)
                return Literal(at=token.at, value=token.value)
            case "pattern":
                assert isinstance(token.value, tuple)
                return Pattern(at=token.at, source=str(token.value[0]), flags=str(token.value[1]))
            case "template":
                return self.template(token)
            case "name":
                return self.name(token)
            case "end":
                raise NoEquivalent("an expression that ends where something is missing")
            case _:
                return self.sign(token)

    def sign(self, token: Token) -> Js:
        sign = token.text
        if sign in ("!", "-", "+"):
            of = self.value(_PREFIX)
            if sign == "-" and isinstance(of, Literal) and isinstance(of.value, int | float):
                return Literal(at=token.at, value=-of.value)
            return Unary(at=token.at, sign=sign, of=of)
        if sign == "(":
            return self.bracket(token)
        if sign == "[":
            items = self.listed("]")
            return Items(at=token.at, items=items)
        if sign == "{":
            return self.fields(token)
        raise NoEquivalent(f"{sign!r}" if sign in ("~", "++", "--", "...", "#", "@") else f"unexpected {sign!r}")

    def name(self, token: Token) -> Js:
        text = token.text
        if self.is_sign("=>"):
            return self.arrow(token.at, (text,))
        if text in _CONSTANTS:
            return Literal(at=token.at, value=_CONSTANTS[text])
        if text == "typeof":
            return Unary(at=token.at, sign="typeof", of=self.value(_PREFIX))
        if text == "new":
            return _newed(self.value(_POSTFIX), token.at)
        if text in _STATEMENTS:
            raise NoEquivalent(f"a JavaScript statement ({text})")
        return Name(at=token.at, name=text)

    def bracket(self, token: Token) -> Js:
        """`( … )`, or the parameters of a function."""
        start = self.at
        names: list[str] = []
        while self.here.kind == "name" or self.is_sign(","):
            part = self.take()
            if part.kind == "name":
                names.append(part.text)
        if self.is_sign(")") and self.tokens[self.at + 1].text == "=>":
            self.take()
            return self.arrow(token.at, tuple(names))
        self.at = start
        inner = self.value(0)
        if self.is_sign(","):
            raise NoEquivalent("several expressions separated by commas")
        self.expect(")")
        if self.is_sign("=>"):
            raise NoEquivalent("a function with parameters that are taken apart")
        return inner

    def arrow(self, at: int, params: tuple[str, ...]) -> Js:
        self.expect("=>")
        if not self.is_sign("{"):
            return Arrow(at=at, params=params, body=self.value(0))
        level = 0
        while self.here.kind != "end":
            token = self.take()
            level += {"{": 1, "}": -1}.get(token.text, 0) if token.kind == "sign" else 0
            if level == 0:
                return Arrow(at=at, params=params, body=None)
        raise NoEquivalent("a function that is never closed")

    def listed(self, close: str) -> tuple[Js, ...]:
        """Values between commas up to `close`, which is taken."""
        made: list[Js] = []
        while not self.is_sign(close):
            if self.is_sign("..."):
                raise NoEquivalent("`...` (spread)")
            made.append(self.value(0))
            if not self.is_sign(","):
                break
            self.take()
        self.expect(close)
        return tuple(made)

    def fields(self, token: Token) -> Js:
        made: list[tuple[str, Js]] = []
        while not self.is_sign("}"):
            key = self.take()
            if key.kind == "sign":
                what = {"...": "`...` (spread)", "[": "a computed key"}.get(key.text, f"unexpected {key.text!r}")
                raise NoEquivalent(what)
            if key.kind in ("end", "template", "pattern"):
                raise NoEquivalent("an object that is never closed")
            name = str(key.value) if key.kind in ("text", "number") else key.text
            if self.is_sign(":"):
                self.take()
                made.append((name, self.value(0)))
            elif key.kind == "name" and self.is_sign(",", "}"):
                made.append((name, Name(at=key.at, name=name)))
            else:
                raise NoEquivalent(f"unexpected {self.here.text[:30]!r} in an object")
            if not self.is_sign(","):
                break
            self.take()
        self.expect("}")
        return Fields(at=token.at, fields=tuple(made))

    def template(self, token: Token) -> Js:
        parts: list[str | Js] = []
        pieces = token.value
        assert isinstance(pieces, list)
        for text, source, offset in pieces:
            if text:
                parts.append(text)
            if offset >= 0:
                parts.append(parse(source, self.depth))
        return Text(at=token.at, parts=tuple(parts))

    def postfix(self, of: Js) -> Js:
        token = self.take()
        if token.text == "?." and self.is_sign("[", "("):
            token = self.take()
        if token.text in (".", "?."):
            name = self.take()
            if name.kind != "name":
                raise NoEquivalent(f"unexpected {name.text[:30]!r} behind a dot")
            return Member(at=name.at, of=of, name=name.text)
        if token.text == "[":
            key = self.value(0)
            self.expect("]")
            return Index(at=token.at, of=of, key=key)
        return Call(at=token.at, of=of, args=self.listed(")"))


def _newed(made: Js, at: int) -> Js:
    """`new Date(x).a.b()`: the innermost call of a chain is what is made new."""
    if isinstance(made, Name):
        return Call(at=at, of=made, args=(), new=True)
    if isinstance(made, Call) and isinstance(made.of, Name):
        return Call(at=at, of=made.of, args=made.args, new=True)
    if isinstance(made, Call):
        return Call(at=made.at, of=_newed(made.of, at), args=made.args)
    if isinstance(made, Member):
        return Member(at=made.at, of=_newed(made.of, at), name=made.name)
    if isinstance(made, Index):
        return Index(at=made.at, of=_newed(made.of, at), key=made.key)
    raise NoEquivalent("`new`")
