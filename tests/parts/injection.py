"""Values that would run a command or leave their place, were they not taken as text."""

from itertools import product

CANARY = "/tmp/deploy-manager-canary"

COMMANDS = (
    f"touch {CANARY}",
    f"echo x>{CANARY}",
    f"mkdir {CANARY}",
    f": >{CANARY}",
    f"python3 -c \"open('{CANARY}', 'w')\"",
)
"""Each makes the canary, in words of its own."""

AROUND = (
    "; {}", "| {}", "|| {}", "& {}", "&& {} &", "\n{}\n", "\r\n{}", "$({})", "`{}`",
    "${{x:-$({})}}", "'; {}; '", '"; {}; "', '\'"; {} #', "\\'; {}; \\'", "a; {} ;b", "a\t;{}",
    "x)\n{}", "}}; {} {{", "#\n{}", "!{}", "%0a{}", "<({})", ">({})", "{{{{{}}}}}", "{{% {} %}}",
    "$(({}))", "\x1b]0;{}\x07", "--option=$({})", "-e {}", "--config=`{}`", "ext::sh -c {}",
    "file:///$({})", "{}@x", "x:{}:y", "../../{}", "/{}", "~/{}", "*{}", "?{}", "[{}]",
    "$'\\n{}'", '$"{}"', "\\\n{}", "'{}'", '"{}"', "a b {}", "\u2028{}", "\u202e{}", "\ufeff{}",
    "日本 {}", "a{}\x7f", "\x00{}", "\ud800{}", "=cmd|'{}'!A1", "<script>{}</script>",
    '"><img src=x onerror=\'{}\'>', "{}\\", "\\", "'", '"', "`", "$", "$x", "${{IFS}}{}",
    "a;{}${{IFS}}b", "^{}^", "!!", "!$", "%s%n{}", "%({})s", "{0.__class__}",
    "import os; os.system('{}')", "__import__('os').system('{}')", "os.system('{}')\n", "%{}%",
    "<?php system('{}') ?>", "'; DROP TABLE x; -- {}", "]] && {}", "]]>{}", "EOF\n{}\nEOF",
    "END\n{}", "</script><script>{}</script>", "</textarea><script>{}</script>",
    "' onmouseover='{}", '" autofocus onfocus="{}', "javascript:{}//", "<!--{}", "<svg/onload={}>",
    "]]><style>{}", "\x9b2J{}", "\x1b[2J\x1b[H{}",
)  # fmt: skip


def _filled(around: str, command: str) -> str:
    doubled = around.replace("{}", "\0command\0").replace("{{", "{").replace("}}", "}")
    return doubled.replace("\0command\0", command)


VALUES = tuple(dict.fromkeys(_filled(*each) for each in product(AROUND, COMMANDS)))
