r"""Text that came from outside (names, labels, tracebacks, other programs' words) made safe for where it goes.

printable       a terminal: line breaks stay, what steers it is written as `\x1b`
one_line        a line of a table, a note or a log: the same, and a line break in a name makes no line of its own
quotable        a message that quotes what a user wrote: everything invisible is written as an escape
plain           a cell of a report or a figure: one line, before any format's own escaping
json_printable  a JSON document on a terminal: the same meaning
storable        a column of a database
encodable       a stream that does not know all characters
headline        the one line of a message that says what went wrong
uncolored       what another program had made bold or coloured
without_passwords   a command line, a message or a file: nobody reads the password of a URL there
"""

from __future__ import annotations

import re

# patterns are compiled by `re` when they are first needed: a command that prints nothing foreign starts sooner
_SPACES = r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+"
_CONTROLS = r"[\x00-\x08\x0e-\x1b\x7f-\x9f]"
# joiners (200C, 200D) stay: scripts and emoji need them
_MISLEADING = (
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\ufff0-\uffff"
    r"\ud800-\udfff\U000e0000-\U000e0fff]"
)
ASCII_FORMS = {
    "\u00b1": "+/-",  # plus or minus
    "\u00b5": "u",  # micro
    "\u00b7": "-",  # middle dot
    "\u00d7": "x",  # times
    "\u0394": "d",  # difference
    "\u2013": "-",  # en dash
    "\u2014": "-",  # em dash
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2022": "*",  # bullet
    "\u2026": "...",
    "\u2190": "<-",
    "\u2192": "->",
    "\u2212": "-",  # minus
    "\u2264": "<=",
    "\u2265": ">=",
    "\u2500": "-",  # a line
    "\u2501": "=",  # a thick one
    "\u25b6": ">",
    "\u2713": "ok",  # check mark
    "\u2717": "x",  # ballot x
    **{chr(0x2581 + height): form for height, form in enumerate("_.-=+*%#")},  # bars of a curve
}
"""What typography becomes where only ASCII can be shown."""

_STEERING = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
_SECRETS = ("password", "passwd", "pwd", "passphrase")
"""How the names of parameters end whose values are secret, such as `sslpassword`; a URL may write letters as `%70`."""
_TRACEBACK = r"(?m)^Traceback\b.*\n"
_COLORS = r"\x1b\[[0-9;]*m"


def printable(text: str) -> str:
    r"""The text with control, escape and direction characters shown as `\x1b`, so that it cannot steer the terminal."""
    return re.sub(_STEERING, lambda found: ascii(found.group())[1:-1], text)


def one_line(text: str) -> str:
    r"""The text as `printable` has it, on one line: line breaks and tabs are shown as `\n` and `\t`."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def json_printable(text: str) -> str:
    """A JSON document of the same meaning, in which direction and other invisible characters are escaped."""
    return text if text.isascii() else re.sub(_STEERING, lambda found: f"\\u{ord(found.group()):04x}", text)


def quotable(text: str) -> str:
    """The text on one line, with all that is invisible or steers a terminal written as an escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def storable(text: str) -> str:
    """The text with NUL and lone surrogates, which no database keeps, replaced by U+FFFD and `?`."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def uncolored(text: str) -> str:
    """The text without the escape sequences that make it bold or coloured."""
    return re.sub(_COLORS, "", text)


def without_passwords(text: str, *, whole: bool = False) -> str:
    """The text with the passwords of its URLs written as `***`, before the host and in the query alike.

    Args:
        text: Any text, or one argument of a command.
        whole: The text is one argument, so that spaces and quotes in a URL belong to the password.
    """
    whitespace = r"\s"
    some = "." if whole else r"\S"
    # a URL that somebody took for a path has one slash
    text = re.sub(rf"(:/+[^:/?#@\s]*):{some}*@", r"\1:***@", text, flags=re.DOTALL)
    names = "|".join("".join(f"(?:{c}|%{ord(c):x}|%{ord(c.upper()):x})" for c in name) for name in _SECRETS)
    return re.sub(rf"((?:{names})=)[^&{'' if whole else whitespace}]*", r"\1***", text, flags=re.IGNORECASE)


def headline(message: str) -> str:
    """The one line of an error message that says what went wrong.

    That is the first one; of a traceback the exception, and of what libraries write about where they failed (Keras:
    `Exception encountered when calling …`, then the reason, then arguments; TensorFlow: `Graph execution error:`, then
    frames, then the reason) both that and the reason.
    """
    *traced, text = re.split(_TRACEBACK, uncolored(message))
    lines = [line for line in text.splitlines() if line.strip()]
    while traced and len(lines) > 1 and lines[0].startswith(" "):
        del lines[0]
    if not lines:
        return ""
    first, *others = (line.strip() for line in lines)
    if first.endswith("Graph execution error:"):
        plain_lines = [line for line in lines[1:] if not line.startswith((" ", "\t", "Detected at", "Hint:"))]
        others = [re.sub(r"\s*\[\[.*", "", line) for line in plain_lines[-1:]]
    needs_more = first.endswith(":") or "Exception encountered when calling " in first
    return f"{first} {others[0]}" if needs_more and others else first


def plain(text: str) -> str:
    r"""The text on one line, without anything that steers a terminal or deceives a reader.

    Line breaks and tabs become spaces; control characters (C0, C1, ESC) go; halves of surrogate pairs and characters
    that change the direction of text or cannot be seen at all are shown as `\u202e`, so that nobody is misled by them.
    """
    one_line = re.sub(_SPACES, " ", text)
    return re.sub(_MISLEADING, lambda found: _escape(found.group()), re.sub(_CONTROLS, "", one_line))


def encodable(text: str, encoding: str) -> str:
    r"""The text with characters that an encoding lacks replaced: `±` by `+/-`, others by `\u…`."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        if len(text) == 1:
            return ASCII_FORMS.get(text) or _escape(text)
        return "".join(encodable(character, encoding) for character in text)
    return text


def can_encode(text: str, encoding: str) -> bool:
    return encodable(text, encoding) == text


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
