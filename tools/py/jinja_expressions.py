"""Small templates for make_jinja_cases.py, each about one feature of the language."""

VARS = {
    "s": "Hello, World",
    "u": "naïve café ☕ 日本語 🎉 straße ǅ ﬁ İ",
    "ws": " \t pad\u00a0ded \n",
    "lines": "one\ntwo\r\nthree\n\nfive",
    "empty": "",
    "n": 42,
    "neg": -7,
    "f": 2.5,
    "zero": 0,
    "yes": True,
    "no": False,
    "nil": None,
    "l": [3, 1, 2, 1],
    "words": ["pear", "Apple", "fig", "apple", "Banana"],
    "mixed": [1, "a", None, True, 2.5, [1, 2], {"k": "v"}],
    "d": {"b": 1, "a": 2, "C": 3},
    "nested": {"x": {"y": [10, {"z": "deep"}]}, "items": "shadow", "1": "one"},
    "users": [
        {"name": "Zoe", "age": 31, "tags": ["x"], "active": True, "addr": {"city": "Rome"}},
        {"name": "adam", "age": 25, "tags": [], "active": False, "addr": {"city": "oslo"}},
        {"name": "Bob", "age": 31, "tags": ["y", "z"], "active": True, "addr": {"city": "Oslo"}},
        {"name": "eve", "age": 7, "active": None, "addr": {"city": "rome"}},
    ],
    "html": "<a href=\"x\">it's & \"q\"</a>",
    "schema": {"type": "object", "properties": {"q": {"type": "string", "description": "caffè \"quoted\"\n"}, "n": {"type": "number", "default": 1.0}}, "required": [], "big": 18446744073709551615},
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2
7 // 2
-7 // 2
7 % 3
-7 % 3
7 % -3
7.5 // 2
-7.5 % 2
2 ** 10
2 ** -1
2 ** 3 ** 2
-2 ** 2
0.1 + 0.2
1e20
1e16
123456789012345680.0
1.5e-5
0.0001
1_000
0x1F + 0b101 + 0o17
1 / 3
3.0
-0.0
1e308 * 10
true + true
n ~ s ~ nil ~ f
"a" "b" 'c'
"a" + "b" * 3
[1] + [2] * 2
(1, 2) + (3,)
(1,)
()
[]
{}
{"a": 1, 'b': [none, true], 3: (1,), "q": "it's"}
{"a": 1, "a": 2}
{1: "int", 1.0: "float", true: "bool"}
[s, n, f, nil, yes]
["a'b", 'c"d', "e'f\"g", "tab\t", "nl\n", "\x00\x7f\xa0\u200b", "日本", "🎉"]
"esc \\ \' \" \x41 \u00e9 \U0001F600 \101 \q"
"\é"
1 < 2 < 3
1 < 3 < 2
1 == 1.0
true == 1
"a" == "a" == "a"
1 != 2
"a" < "b"
[1, 2] < [1, 3]
(1, 2) < (1, 2, 3)
1 < "a"
none < 1
nil == none
[] == ()
{"a": 1} == {"a": 1.0}
"ell" in s
"x" not in s
1 in l
"b" in d
none in [none]
1 in "abc"
1 in 5
x in s
x in l
not yes
not x
yes and no
no or "default"
"" or none or 0
1 and 2
x or y or "z"
"a" if yes else "b"
"a" if no else "b"
"a" if no
("a" if no) is defined
1 if no else 2 if yes else 3
x
x.y
x["y"]
x + 1
x == y
x == 1
x is defined
x is undefined
x is not defined
s is defined
x | default("d")
x | default
empty | default("d")
empty | default("d", true)
nil | default("d")
nil | d("d", boolean=true)
x.y | default("d")
nested.x.nope | default("d")
nested.x.y[1].z
nested["x"]["y"][0]
nested.x.y.0
nested["items"]
nested.get("x").y | length
nested["1"]
nested[1]
l[0]
l[-1]
l[10]
l["0"]
l[1:3]
l[::-1]
l[-2:]
l[:-1]
l[::2]
l[5:]
l[3:0:-1]
l[::0]
s[0]
s[-1]
s[100]
s[1:4]
s[::-1]
u[2]
u[6:10]
u[::-2]
u | length
u | reverse
u | upper
u | lower
u | title
u | capitalize
u.title()
u.capitalize()
u.swapcase()
u.casefold()
u | list
(1, 2, 3)[1:]
range(5)
range(5) | list
range(1, 10, 3) | list
range(5, 0, -2) | list
range(0) | list
range(10)[2:8:3]
range(3) | length
range(5)[-1]
3 in range(5)
range(1, 10) | sum
range(3) == range(0, 3)
range("a")
range(1, 2, 0)
s.upper()
s.lower()
s.strip("Hd")
ws.strip()
ws.lstrip() ~ "|"
"|" ~ ws.rstrip() ~ "|"
ws | trim
"xxaxx" | trim("x")
s.split(", ")
s.split("o", 1)
s.rsplit("o", 1)
" a  b  c ".split()
" a  b  c ".split(none, 1)
" a  b  c ".rsplit(none, 1)
" a  b  c ".rsplit(maxsplit=1)
"a,b,,c".split(",")
"".split()
"".split(",")
"abc".split("")
"a<t>b</t>c".split("</t>")[-1].lstrip("\n")
lines.splitlines()
lines.splitlines(true)
s.startswith("Hell")
s.startswith(("x", "H"))
s.endswith("ld")
s.endswith(("x", "d"))
s.startswith("World", 7)
s.endswith("Hello", 0, 5)
s.startswith(1)
s.startswith(["a"])
s.replace("l", "L")
s.replace("l", "L", 2)
s.replace("", "-")
s.find("o")
s.find("o", 5)
s.rfind("o")
s.find("zz")
s.index("W")
s.index("zz")
u.find("☕")
s.count("l")
s.count("")
s.partition(", ")
s.rpartition("o")
s.partition("zz")
s.removeprefix("Hello")
s.removesuffix("World")
s.removesuffix("x")
"-".join(["a", "b"])
"-".join("abc")
"-".join([1, 2])
"{} and {}".format(1, "b")
"{1} {0} {x}".format(1, 2, x="y")
"{0.name} {0[age]}".format(users[0])
"{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}".format("a", "b", "c", 42, 3.14159, 1234567)
"{!r} {!s} {{}}".format("a", "b")
"{:x} {:#x} {:b} {:e} {:%} {:g}".format(255, 255, 5, 12345.678, 0.5, 0.0001)
"{:*^10}{:+d}{: d}".format("mid", 5, 5)
"{:{w}.{p}f}".format(3.14159, w=8, p=2)
"{}".format()
"{x}".format(x=none)
"%s is %d years" % ("Al", 30)
"%s" % "one"
"%5.1f|%-5s|%05d|%x|%X|%o|%e|%g|%%" % (3.14159, "ab", 42, 255, 255, 8, 12345.678, 0.00001)
"%(a)s %(b)d" % {"a": "x", "b": 5}
"%r %r" % ("a", 1.0)
"%s" % [1, 2]
"%s %s" % (1,)
"%s" % (1, 2)
"%%" % range(3)
"x" % d
"x" % l
"x" % zz
"x" % (1,)
"%d" % "x"
"%c%c" % (65, "b")
"%*d" % (5, 3)
"%s %s" | format("a", 2)
"%(x)s" | format(x=1)
"42".isdigit()
"4²".isdigit()
"4²".isdecimal()
"abc".isalpha()
"abc1".isalnum()
" ".isspace()
"Title Case".istitle()
"ABC".isupper()
"abc".islower()
"x_1".isidentifier()
"a\n".isprintable()
"½".isnumeric()
"abc".isascii()
"ab".center(7, "*")
"abc".ljust(5) ~ "|"
"abc".rjust(5)
"-42".zfill(6)
"hello world-foo (bar) [baz] it's" | title
"hello world it's".title()
"hELLO" | capitalize
"ǆ".title() ~ "ﬁn".capitalize() ~ "ß".upper()
"ΑΣ".lower()
d.items()
d.keys()
d.values()
d.items() | list
d | list
d.get("b")
d.get("zz")
d.get("zz", 5)
d.copy()
d["b"]
d.b
d.zz
d["zz"] is defined
d | length
d.update({"x": 1})
d.pop("b")
d.pop
l.append(1)
l.index(2)
l.index(99)
l.count(1)
(1, 2, 1).count(1)
l.sort()
s.__class__
s.__class__.__mro__
s["__class__"]
s.__class__ is defined
s._x
l.__len__()
"{0.__class__}".format(s)
"{0.__class__.__mro__}".format(s)
namespace(a=1).a
namespace(a=1)
namespace({"a": 2}).a
namespace(_a=1)
dict(a=1, b=2)
dict({"a": 1}, b=2)
dict([("x", 1), ("y", 2)])
dict()
l | first
l | last
[] | first
[] | last
"abc" | first
"abc" | last
d | first
d | last
l | length
s | length
nil | length
n | length
x | length
l | sort
l | sort(reverse=true)
words | sort
words | sort(case_sensitive=true)
words | sort(reverse=true) | join(",")
mixed | sort
users | sort(attribute="name") | map(attribute="name") | join(",")
users | sort(attribute="age,name") | map(attribute="name") | list
users | sort(attribute="addr.city") | map(attribute="addr.city") | list
words | unique | list
words | unique(case_sensitive=true) | list
users | unique(attribute="age") | map(attribute="name") | list
l | min
l | max
words | min
words | max
[] | min
users | max(attribute="age")
l | sum
users | sum(attribute="age")
l | sum(start=10)
[[1], [2]] | sum(start=[])
words | sum
l | join
l | join(", ")
l | join("-") | length
users | join(", ", attribute="name")
"abc" | join("-")
mixed | join("|")
l | reverse | list
d | reverse | list
l | list
"abc" | list
n | list
words | map("upper") | list
words | map("replace", "p", "P") | list
users | map(attribute="name") | list
users | map(attribute="tags") | list
users | map(attribute="tags", default="none") | list
users | map(attribute="addr.city") | map("lower") | unique | list
users | map("nope") | list
words | map("upper") | first
l | select("odd") | list
l | select | list
l | reject("odd") | list
l | select("gt", 1) | list
l | select("in", [1, 2]) | list
l | select("divisibleby", 2) | list
words | select("equalto", "fig") | list
words | reject("eq", "fig") | list
users | selectattr("active") | map(attribute="name") | list
users | rejectattr("active") | map(attribute="name") | list
users | selectattr("age", "equalto", 31) | map(attribute="name") | list
users | selectattr("age", ">", 10) | map(attribute="name") | list
users | selectattr("tags", "defined") | list | length
users | rejectattr("tags", "defined") | list | length
users | selectattr("addr.city", "lower") | list | length
users | selectattr("name", "nope") | list
users | selectattr("active", "none") | map(attribute="name") | first
users | groupby("age")
users | groupby("addr.city")
users | groupby("addr.city", case_sensitive=true) | length
users | groupby("tags", default=[]) | length
(users | groupby("age"))[0].grouper
(users | groupby("age"))[0].list | length
l | batch(2) | list
l | batch(3, 0) | list
l | slice(3) | list
l | slice(3, "x") | list
d | dictsort
d | dictsort(true)
d | dictsort(false, "value")
d | dictsort(by="value", reverse=true)
d | dictsort(by="zz")
d | items | list
x | items | list
l | items | list
n | string
f | string ~ "!"
"42" | int
"42.7" | int
"abc" | int
"abc" | int(-1)
"abc" | int(default=5)
" 12 " | int
"1_000" | int
"0x1f" | int(0, 16)
"ff" | int(base=16)
2.9 | int
-2.9 | int
nil | int
yes | int
[] | int
x | int
"1e3" | int
"inf" | int
"3.5" | float
"abc" | float
"abc" | float(1.5)
n | float
"1e-7" | float
"nan" | float
"-inf" | float
nil | float
-5 | abs
(-5) | abs
(-2.5) | abs
s | abs
2.5 | round
3.5 | round
2.567 | round(2)
2.567 | round(1, "floor")
2.511 | round(1, "ceil")
42 | round
1234 | round(-2)
1250 | round(-2)
2.5 | round | int
2.675 | round(2)
s | round
"a\nb\n\nc" | indent
"a\nb\n\nc" | indent(2, true)
"a\nb\n\nc" | indent(2, blank=true)
"a\nb" | indent("> ")
"a\nb\n" | indent(2)
n | indent
(1, 2) | truncate(5)
"{:^7,}|{:012,}|{:_x}".format(1234567, 1234567, 1048575)
html | escape
html | e
html | safe
html | safe | escape
html | escape | escape
html | forceescape
(html | e) + "<b>"
"<b>" + (html | safe)
(html | e) ~ "<b>"
(html | safe) is escaped
[html | e]
("<" | e) * 3
("%s" | safe) % "<"
(html | e) | upper
(html | e) | length
(html | e).replace("a", "<")
s | truncate(8)
s | truncate(8, true)
s | truncate(5, false, "…", 0)
s | truncate(255)
"foo bar baz" | wordcount
"ab" | center(10) ~ "|"
schema | tojson
schema | tojson(indent=2)
schema | tojson(indent=0)
schema | tojson(indent="\t")
schema | tojson(ensure_ascii=true)
schema | tojson(separators=(",", ":"))
schema | tojson(sort_keys=true)
schema | tojson(indent=4, separators=(", ", " = "), sort_keys=true)
u | tojson
u | tojson(ensure_ascii=true)
html | tojson
"\x00\x1f\x7f\u2028/" | tojson
[1.0, 1e100, 0.1, -0.0, 1e16, 1e15] | tojson
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
(1, 2) | tojson
[] | tojson(indent=2)
{} | tojson(indent=2)
[[], {}] | tojson(indent=2)
mixed | tojson
x | tojson
range(3) | tojson
(l | map("string")) | tojson
[x] | tojson
schema.big
schema.big | string
schema.big is integer
schema.big == schema.big
[schema.big]
n is number
f is number
yes is number
s is number
n is integer
f is integer
yes is integer
f is float
n is float
s is string
n is string
html | e is string
d is mapping
l is mapping
s is iterable
n is iterable
x is iterable
l is sequence
d is sequence
s is sequence
range(3) is sequence
d.items() is sequence
d.items() is iterable
(l | map("string")) is sequence
(l | map("string")) is iterable
yes is boolean
1 is boolean
yes is true
no is false
1 is true
nil is none
x is none
n is even
n is odd
neg is odd
n is divisibleby 7
n is divisibleby(5)
n is eq 42
n is equalto(42)
n is ne 42
n is gt 41
n is ge 42
n is lt 43
n is le 41
n is greaterthan 1
n is lessthan 1
n is in [1, 42]
n is not in [1, 42]
"b" is in d
s is upper
"ABC" is upper
"abc" is lower
s is callable
s.upper is callable
range is callable
x is callable
nil is sameas none
yes is sameas true
1 is sameas true
"upper" is filter
"nope" is filter
"odd" is test
n is nope
n | nope
"x" if no else (n | nope)
"x" if yes else (n | nope)
raise_exception("boom")
raise_exception("é " ~ n)
raise_exception()
strftime_now("%Y-%m-%d %H:%M:%S")
strftime_now("%d %b %Y")
strftime_now("%A, %B %e, %-d %j %U %W %V %u %w %p %I %y %f %% %q %C %G %D %T %R %c %x %X %h %k|%l")
d | attr("b")
-n | string
-n | abs
not n is defined
not n == 42
n is defined and n == 42
n + 1 is odd
n in [41 + 1]
n | string + "x"
"a" ~ n + 1
s[0:n:2]
[1, 2, 3,]
(1, 2, 3,)
{"a": 1,}
f(1)
s()
n.x
f.is_integer()
nil.x
nil.x.y
nil["x"]
true.x
l | sort(attribute=0)
[[2, 1], [1, 2]] | sort(attribute=0)
[[2, 1], [1, 2]] | map(attribute=1) | list
[[2, 1], [1, 2]] | map("first") | list
[3, 1] | map("string") | map("int") | sum
["a", "b"] | map("upper") | join
"abc"[1]
"abc"[1:][0]
("a", "b")[1]
{"a": {"b": 1}}.a.b
"a.b" .split(".")[0]
l | length == 4
l|length > 3 and s|length > 3
(s | upper).lower() | title | replace("W", "V")
"%.3f" | format(3.14159)
"%s" | format(s) | upper
1 if 1 if 0 else 1 else 2
[1, 2, 3] | tojson | length
d.items() | map("first") | list
d.items() | map(attribute=0) | join
d | dictsort | map("last") | list
"\n" in lines
lines | replace("\n", "\\n") | replace("\r", "\\r")
"a" * 0 ~ "b"
"a" * -1
2 * "ab"
1.0 * 3
7 / 0
7 // 0
7 % 0
7.0 / 0
"a" - "b"
"a" + 1
1 + "a"
[1] + (2,)
none + 1
{} + {}
[1, 2] * "a"
- "a"
+ "a"
+n
- - n
l[s]
d[[1]]
d[([1],)]
d.get([1])
(1, 2)['ab'[0][::2]]
l['ab'[::2] | length]
l[f]
s["upper"]()
d["items"]()
l[yes]
l[nil]
s[nil:3]
s[x:3]
s["a":]
{[1]: 2}
{(1, 2): 3}[(1, 2)]
1, 2
1,
""".strip("\n").split("\n")

TEMPLATES = [
    "plain text",
    "",
    "\n",
    "a\n\n",
    "a\r\nb\rc\r\n",
    "{# comment #}x{#- c -#} y {#+ c +#}\nz",
    "a {#- c -#} b",
    "  {# c #}\nx",
    "{% if yes %}\n  a\n{% endif %}\nb",
    "  {% if yes %}\n  a\n  {% endif %}\nb",
    "  {%+ if yes %}\n  a\n  {%+ endif %}\nb",
    "x  {% if yes %}\n  a\n x {% endif %}\nb",
    "{% if yes -%}   a   {%- endif %}   b",
    "{% if yes +%}\na{% endif +%}\nb",
    "{{ n }}\n{{ n }}\n",
    "{{- n -}}  x  {{- n }}\n\n{{ n -}}\n\n y",
    "  {{ n }}  ",
    "\u00a0{%- if yes %}\u2003x{% endif %}",
    "\x1f{%- if yes %}x{% endif %}",
    "\u00a0\t{% if yes %}x{% endif %}",
    "{% raw %}{{ n }} {% if %}{% endraw %}",
    "  {% raw %}  \n x {% endraw %}  \n y",
    "a {%- raw -%}  x  {%- endraw -%}  b",
    "{% raw %}{% endraw %}",
    "{% raw %}{%- endraw",
    "{% if no %}a{% elif n == 42 %}b{% else %}c{% endif %}",
    "{% if no %}a{% elif no %}b{% elif no %}c{% endif %}",
    "{% if no %}a{% else %}c{% endif %}",
    "{% if x %}a{% endif %}",
    "{% if 1, 2 %}a{% endif %}",
    "{% if yes: %}a{% endif %}",
    "{% for i in l %}{{ i }},{% endfor %}",
    "{% for i in l -%}\n  {{ i }}\n{%- endfor %}",
    "{% for i in [] %}a{% else %}none{% endfor %}",
    "{% for i in x %}a{% else %}none{% endfor %}",
    "{% for i in n %}a{% endfor %}",
    "{% for i in nil %}a{% endfor %}",
    "{% for c in u %}{{ c }}|{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d | items %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d | dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for a, b in [(1, 2), [3, 4], 'ab'] %}{{ a }}{{ b }};{% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}",
    "{% for a, b in [(1,)] %}{{ a }}{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for i in l if i > 1 %}{{ i }}{{ loop.index }}{{ loop.length }}{{ loop.last }};{% endfor %}",
    "{% for i in l if i > 99 %}{{ i }}{% else %}none{% endfor %}",
    "{% for i in l if loop %}{{ i }}{% endfor %}",
    "{% for i in l if loop.first %}{{ i }}{% endfor %}",
    "{% for k, v in d.items() if v > 1 %}{{ k }}{{ v }}{% endfor %}",
    "{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}\n{% endfor %}",
    "{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }};{% endfor %}",
    "{% for i in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}",
    "{% for i in l %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for i in [1, 1, 2, 2, 1] %}{{ loop.changed(i) }}{% endfor %}",
    "{% for i in l | map('string') %}{{ loop.length }}{{ loop.last }}{{ i }};{% endfor %}",
    "{% for i in l | map('string') %}{{ loop.nextitem }}{{ loop.revindex }}{{ i }};{% endfor %}",
    "{% for i in l %}{{ loop }}{% endfor %}",
    "{% for i in l %}{{ loop.nope }}{% endfor %}",
    "{% for i in l %}{% for j in [1, 2] %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}",
    "{% for i in l %}{% set outer = loop %}{% for j in [1, 2] %}{{ outer.index }}{{ loop.index }}{% endfor %}{% endfor %}",
    "{% for i in l %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in l %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in l %}{% break %}{% else %}else{% endfor %}",
    "{% for i in l %}{% continue %}{% else %}else{% endfor %}",
    "{% for i in l %}{% for j in l %}{% break %}{% endfor %}{{ i }}{% endfor %}",
    "{% for i in l %}{% for j in [] %}{% else %}{% break %}{% endfor %}{{ i }}{% endfor %}",
    "{% for i in l %}{% set t %}a{% break %}b{% endset %}{% endfor %}{{ i }}",
    "{% break %}",
    "{% for i in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
    "{% for loop in l %}{% endfor %}",
    "{% for i in l %}{% set loop = 1 %}{% endfor %}",
    "{% for i in l %}",
    "{% for i l %}{% endfor %}",
    "{% for i in l %}{{ i }}{% endfor %}{{ i }}",
    "{% set i = 9 %}{% for i in l %}{{ i }}{% endfor %}{{ i }}",
    "{% set a = 0 %}{% for i in l %}{% set a = a + i %}{{ a }},{% endfor %}{{ a }}",
    "{% set ns = namespace(a=0) %}{% for i in l %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}",
    "{% set ns = namespace() %}{{ ns.a }}{% set ns.a = 1 %}{{ ns.a }}{% set ns.b, ns.c = 1, 2 %}{{ ns.b }}{{ ns.c }}{{ ns }}",
    "{% set ns = namespace(l=[]) %}{% for i in l if i not in ns.l %}{% set ns.l = ns.l + [i] %}{{ loop.index }}{{ loop.last }}{% endfor %}{{ ns.l }}",
    "{% set ns = namespace(l=[]) %}{% for i in l if i not in ns.l %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.l }}",
    "{% set d.x = 1 %}",
    "{% set zz.x = 1 %}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{% set ns = namespace(a=1) %}{{ ns['a'] }}{{ ns.nope }}{{ ns is mapping }}{{ 'a' in ns }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a, b = 'xy' %}{{ a }}{{ b }}",
    "{% set (a, b) = [1, 2] %}{{ a }}{{ b }}",
    "{% set a = 1, 2 %}{{ a }}",
    "{% set a, b = 1 %}{{ a }}",
    "{% set a %}  x {{ n }} {% endset %}[{{ a }}]{{ a is string }}",
    "{% set a | upper | trim %}  x {{ n }} {% endset %}[{{ a }}]",
    "{% set a | replace('x', s) %}x{% endset %}{{ s }}{{ a }}",
    "{% set ns = namespace() %}{% set ns.a %}x{% endset %}{{ ns.a }}",
    "{% set a = 1 %}{% set b %}{% set a = 2 %}{{ a }}{% endset %}{{ a }}{{ b }}",
    "{% set true = 1 %}",
    "{% set 'a' = 1 %}",
    "{% set a.b.c = 1 %}",
    "{% set a[0] = 1 %}",
    "{% set a = %}",
    "{% set n = n + 1 %}{{ n }}",
    "{{ q }}{% set q = 1 %}{{ q }}",
    "{% if yes %}{% set q = 1 %}{% endif %}{{ q }}",
    "{% if no %}{% set q = 1 %}{% endif %}{{ q }}",
    "{% if no %}{% set n = 1 %}{% endif %}{{ n }}",
    "{% if no %}{% set n = 1 %}{% elif yes %}{% set s = 2 %}{% endif %}{{ n }}{{ s }}",
    "{% for i in [1, 2] %}{{ n }}{% set n = i %}{{ n }};{% endfor %}{{ n }}",
    "{% for i in [1, 2] %}{% if i == 1 %}{% set q = i %}{% endif %}[{{ q }}]{% endfor %}",
    "{% for i in [1, 2] %}{% for j in [1] %}{{ n }}{% endfor %}{% set n = 1 %}{% endfor %}",
    "{% macro m() %}{{ n }}{% endmacro %}{{ m() }}{% set n = 1 %}{{ m() }}",
    "{% macro m() %}{{ q }}{% endmacro %}{{ m() }}{% set q = 1 %}{{ m() }}",
    "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }};{{ m(1, 3) }};{{ m(b=4, a=5) }};{{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}",
    "{% macro m(a, a) %}{% endmacro %}",
    "{% macro m(a=1, b) %}{% endmacro %}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 2) }}",
    "{% macro m(a=b, b=1) %}{{ a }}{{ b }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(a) %}{{ varargs | join('+') }}{{ kwargs.x }}{% endmacro %}{{ m(1, 2, 3, x=3) }}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}body {{ n }}{% endcall %}",
    "{% macro m() %}[{{ caller(1, 2) }}]{% endmacro %}{% call(a, b=5, c=6) m() %}{{ a }}{{ b }}{{ c }}{% endcall %}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{{ m() }}",
    "{% macro m() %}x{% endmacro %}{% call m() %}body{% endcall %}",
    "{% macro m(x) %}{{ x }}{{ caller() }}{% endmacro %}{% call m('a') %}{% set n = 1 %}{{ n }}{% endcall %}{{ n }}",
    "{% call n %}x{% endcall %}",
    "{% macro m(n) %}{% if n > 0 %}{{ n }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(5) }}",
    "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}",
    "{% macro m() %}\n  x\n{% endmacro %}[{{ m() }}]",
    "{%- macro m(v) -%}\n  {%- if v is mapping -%}\n    {\n    {%- for k, x in v | items -%}\n      {{ k }}: {{ m(x) }}{{ ', ' if not loop.last }}\n    {%- endfor -%}\n    }\n  {%- else -%}\n    {{ v }}\n  {%- endif -%}\n{%- endmacro -%}\n{{ m(schema) }}",
    "{% macro m() %}{% set q = 1 %}{% endmacro %}{{ m() }}{{ q }}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ m }}{{ m.name }}{{ m.arguments }}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(1) | upper ~ m(2) }}{{ m is callable }}",
    "{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% for i in l %}{% macro m() %}{{ loop.index }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro m(f) %}{{ f('x') }}{% endmacro %}{% macro g(v) %}<{{ v }}>{% endmacro %}{{ m(g) }}",
    "{% macro m(caller) %}{{ caller() }}{% endmacro %}",
    "{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}{{ m(1, *[2]) }}",
    "{{ m() }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}",
    "{% filter upper | replace('A', '-') %}abc{% endfilter %}",
    "{% filter nope %}abc{% endfilter %}",
    "{% filter indent(2, true) %}a\nb{% endfilter %}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}",
    "{% with a = 1, b = a %}{{ b }}{% endwith %}",
    "{% with n = n + 1 %}{{ n }}{% endwith %}{{ n }}",
    "{% print n %}",
    "{% print n, s %}",
    "{% generation %}a {{ n }}{% endgeneration %}b",
    "x\n  {% generation %}\n  a\n  {% endgeneration %}\nb",
    "{%- generation -%} a {%- endgeneration -%} b",
    "{% generation %}{% set q = 1 %}{{ q }}{% endgeneration %}{{ q }}",
    "{% for i in l %}{% generation %}{{ i }}{{ loop.index }}{% endgeneration %}{% endfor %}",
    "{% for i in l %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
    "{% generation %}",
    "{% nope %}",
    "{% endif %}",
    "{% if yes %}",
    "{% if yes %}{% endfor %}",
    "{% if %}{% endif %}",
    "{% %}",
    "{{ }}",
    "{{ n",
    "{{ n }",
    "{% if yes",
    "{# open",
    "{{ 'open }}",
    "{{ ( }}",
    "{{ [1, 2 }}",
    "{{ {1} }}",
    "{{ 1 2 }}",
    "{{ a b }}",
    "{{ 1 + }}",
    "{{ * 2 }}",
    "{{ a. }}",
    "{{ a[ }}",
    "{{ a | }}",
    "{{ a is }}",
    "{{ a ? b }}",
    "{{ a $ b }}",
    "{{ a.1b }}",
    "{{ f(a=1, 2) }}",
    "{{ f(*a, *b) }}",
    "{{ f(a=1, a=2) }}",
    "{{ n if }}",
    "{{ n is defined is defined }}",
    "{{ not }}",
    "{{ n }} }} {{ '}}' }} {{ \"%}\" }}",
    "{{ {'a': {'b': 1}} }}",
    "{{ {'a': {'b': 1}}.a.b}}",
    "{ { n } }",
    "{{ '{{' }}",
    "{%- if yes -%}{{- '' -}}{%- endif -%}",
    "{% set x = '\\n' %}{{ x }}|",
    "{{ '\\\\n' }}",
    "{{ \"a\nb\" }}",
    "{{ 'a\\\nb' }}",
    "{{ n }}{#- -#}\n{{ n }}",
    "{#-#}x",
    "{# a #} {# b #}\n{# c #}",
    "line\n    {%- if yes %}\n  x\n    {%- endif %}\ny",
    "{% for m in users %}\n    {{- m.name }}\n    {%- if not loop.last %}, {% endif %}\n{%- endfor %}\n",
    "{% for u in users %}{% if u.tags is defined and u.tags %}{{ u.name }}:{{ u.tags | join('/') }} {% endif %}{% endfor %}",
    "{% set xs = l | map('string') %}{{ xs | join }}{{ xs | join }}",
    "{% set xs = users | selectattr('nope') %}{% if xs %}truthy{% endif %}",
    "{% if (users | selectattr('nope') | list) %}truthy{% else %}falsy{% endif %}",
    "{% if x is defined and x.y %}a{% else %}b{% endif %}",
    "{{ users[0].name if users else 'none' }}",
    "{{ users[0]['tags'][0] }}{{ users[-1].name }}",
    "{% set msgs = users[1:] %}{{ msgs | length }}{% set msgs = msgs[:-1] %}{{ msgs | map(attribute='name') | list }}",
    "{% set content = none %}{% if content is none %}{% set content = '' %}{% endif %}[{{ content }}]",
    "{%- set a = 1 -%}\n\n{%- set b = 2 -%}\n  {{ a + b }}\n\n",
    "{% do n %}",
    "{% set a = [] %}{% set _ = a.append(1) %}",
    "{% set _ = d.update({'z': 1}) %}",
    "{% set _ = 1 %}{{ _ }}",
    "{{ d.__class__.__init__.__globals__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ (l | map(attribute='__class__') | list)[0] }}",
    "{{ l | map(attribute='__class__.__mro__') | list }}",
    "{{ range.__globals__ }}",
    "{{ namespace.__init__ }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
]
