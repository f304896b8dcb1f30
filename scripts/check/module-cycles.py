#!/usr/bin/env python3
"""Finds cycles of files inside a crate.

An arrow goes from a file to the file that defines an item it uses: by `use`, by a path in the code, or through a
re-export. A module that only re-exports its children has no arrow to them, so a cycle means that a child needs an item
which its parent's file defines while that file needs the child. Code under `#[cfg(test)]` does not count.

Prints every cycle of more than two files with its arrows. Exits with 1 if there is any outside EXCEPTIONS, or if an exception
is no longer needed. Dependencies between crates are the business of architecture.py.

  scripts/check/module-cycles.py [CRATE …]      all crates, or the named ones
"""

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Cycles that stay for now: (crate, folder below src, "" for all): reason. A cycle is excused if all its files lie there.
EXCEPTIONS = {
    ("cli", "dashboard/view"): "panels use the frame that draws them",
    ("report", ""): "the types of a report lie in the file that renders them, until they get a file below the pages",
    ("model", "gguf"): "writer and reader of a format share its vocabulary, tables and errors",
}

IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"


def without_comments_and_strings(text):
    """Blanks comments, strings and characters, keeping line ends."""
    pattern = re.compile(
        r"""//[^\n]*|/\*.*?\*/|\bb?r(?P<hash>\#*)".*?"(?P=hash)|b?"(?:\\.|[^"\\])*"|'(?:\\.[^']*|[^'\\])'""", re.S
    )
    return pattern.sub(lambda found: '""' + "\n" * found.group().count("\n"), text)


def end_of_block(text, start):
    """The place after the block whose first `{` or final `;` comes next from `start`."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at + 1
        elif text[at] == ";" and depth == 0:
            return at + 1
    return len(text)


def without_tests(text):
    """Cuts items under `#[cfg(test)]` and similar; returns the rest and the names of modules that are declared so."""
    declared = []
    while found := re.search(r"#\[cfg\((?:all\()?test\b[^\]]*\]", text):
        end = end_of_block(text, found.end())
        module = re.search(rf"\bmod\s+({IDENTIFIER})\s*;", text[found.start() : end])
        if module:
            declared.append(module.group(1))
        text = text[: found.start()] + text[end:]
    return text, declared


def use_tree(tree, prefix=()):
    """Yields (path, name it is bound to) of a use tree: `a::{b, c as d}` gives (a, b) as b and (a, c) as d."""
    tree = tree.strip()
    while True:
        if tree.startswith("{"):
            depth, part = 0, ""
            for letter in tree[1:-1] + ",":
                if letter == "," and depth == 0:
                    if part.strip():
                        yield from use_tree(part, prefix)
                    part = ""
                    continue
                depth += {"{": 1, "}": -1}.get(letter, 0)
                part += letter
            return
        head, colons, rest = tree.partition("::")
        if not colons:
            name, _, alias = (word.strip() for word in head.partition(" as "))
            path = prefix if name == "self" and prefix else prefix + (name,)
            yield path, alias or path[-1]
            return
        prefix += (head.strip(),)
        tree = rest.strip()


class Module:
    """A file: the items that it defines, the names that it imports or re-exports, its children and its text."""

    def __init__(self, file, path, text):
        self.file, self.path = file, path
        self.text, self.test_modules = without_tests(without_comments_and_strings(text))
        self.children = set(re.findall(rf"\bmod\s+({IDENTIFIER})\s*;", self.text))
        self.uses = []  # (path, name, is public)
        for found in re.finditer(r"(\bpub(?:\([^)]*\))?\s+)?\buse\s+([^;]+);", self.text):
            for path, name in use_tree(re.sub(r"\s+", " ", found.group(2))):
                self.uses.append((path, name, found.group(1) is not None))
        self.body = re.sub(r"(\bpub(\([^)]*\))?\s+)?\b(use|mod)\s+[^;{]+(\{[^;]*\})?[^;{]*;", "", self.text)
        kinds = r"fn|struct|enum|trait|const|static|type|union|macro_rules!|mod"
        self.items = set(re.findall(rf"\b(?:{kinds})\s+(?:mut\s+)?({IDENTIFIER})", self.body))
        self.words = set(re.findall(IDENTIFIER, self.body))


class Crate:
    def __init__(self, folder):
        self.folder = folder
        self.modules = {}
        source = folder / "src"
        tests = set()
        for file in sorted(source.rglob("*.rs")):
            parts = list(file.relative_to(source).with_suffix("").parts)
            if parts[-1] in ("mod", "lib", "main") and (len(parts) > 1 or parts[-1] != "mod"):
                parts.pop()
            module = Module(file, tuple(parts), file.read_text())
            self.modules.setdefault(module.path, module)
            tests |= {module.path + (name,) for name in module.test_modules}
        for path in list(self.modules):
            if any(path[: len(test)] == test for test in tests):
                del self.modules[path]

    def absolute(self, module, path):
        """`path` as seen in `module`, from the crate's root; `None` if it leads out of the crate."""
        head, rest = path[0], path[1:]
        if head == "crate":
            return rest
        if head == "self":
            return module.path + rest
        if head == "super":
            at = module.path[:-1]
            while rest and rest[0] == "super":
                at, rest = at[:-1], rest[1:]
            return at + rest
        if head in module.children:
            return module.path + path
        return None

    def owner(self, path, seen=frozenset()):
        """The module that defines the item at `path`; a module itself, if `path` names one."""
        if path in self.modules:
            return self.modules[path]
        for length in range(len(path) - 1, -1, -1):
            module = self.modules.get(path[:length])
            if module is None:
                continue
            name, rest = path[length], path[length + 1 :]
            if name in module.items or (module.path, name) in seen:
                return module
            for target, bound, _ in module.uses:
                target = self.absolute(module, target)
                if target is not None and bound == name:
                    return self.owner(target + rest, seen | {(module.path, name)})
            for target, bound, _ in module.uses:
                target = self.absolute(module, target)
                if target is not None and bound == "*" and target in self.modules and target != module.path:
                    if name in self.modules[target].items:
                        return self.modules[target]
            return module
        return None

    def arrows(self, module):
        """Files that `module` uses, each with the names that it uses."""
        found = {}

        def add(path):
            owner = self.owner(path)
            if owner is not None and owner is not module and path != owner.path:
                found.setdefault(owner.file, set()).add(path[-1])

        bound = {}
        for path, name, public in module.uses:
            path = self.absolute(module, path)
            if path is None:
                continue
            if name == "*":
                target = self.modules.get(path[:-1])
                for word in (target.items & module.words if target and not public else ()):
                    add(target.path + (word,))
                for word in (module.words if target and not public else ()):
                    for used, imported, _ in target.uses:
                        used = self.absolute(target, used)
                        if imported == word and used is not None:
                            add(used)
                continue
            bound[name] = path
            if not public or name in module.words:
                add(path)
        for text in re.findall(rf"(?<![:\w])(?:{IDENTIFIER}::)+{IDENTIFIER}", re.sub(r"\s*::\s*", "::", module.body)):
            path = tuple(text.split("::"))
            path = bound[path[0]] + path[1:] if path[0] in bound else self.absolute(module, path)
            if path is not None:
                add(path)
        return found


def components(graph):
    """Strongly connected components (Tarjan's algorithm, without recursion)."""
    index, low, on_stack, stack, result = {}, {}, set(), [], []
    for root in graph:
        if root in index:
            continue
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(graph[target])))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = set()
                    while node not in component:
                        component.add(stack.pop())
                    on_stack -= component
                    result.append(component)
    return result


def cycles(crate, used):
    """Prints the cycles of a crate that are not excused, and counts them."""
    source = crate.folder / "src"
    arrows = {module.file: crate.arrows(module) for module in crate.modules.values()}
    count = 0
    for component in components(arrows):
        if len(component) <= 2:
            continue
        names = sorted(str(file.relative_to(source)) for file in component)
        excuse = [
            place
            for name, place in EXCEPTIONS
            if name == crate.folder.name and all(not place or n.startswith(place + "/") for n in names)
        ]
        if excuse:
            used.update((crate.folder.name, place) for place in excuse)
            continue
        count += 1
        print(f"{crate.folder.name}: a cycle of {len(names)} files")
        for file in sorted(component):
            for target in sorted(component & set(arrows[file])):
                words = ", ".join(sorted(arrows[file][target]))
                print(f"  {file.relative_to(source)} uses {target.relative_to(source)}: {words}")
    return count


def check_itself():
    """Fails unless a planted cycle is found, and none where a parent only re-exports its children."""
    sound = {
        "lib.rs": "mod a;\nmod b;\npub use a::A;",
        "a/mod.rs": "mod c;\npub use c::C;\npub struct A;",
        "a/c.rs": "use super::A;\npub struct C(A);",
        "b.rs": "use crate::A;\n// crate::b::B\n#[cfg(test)]\nmod tests {\n    use crate::a::C;\n}\npub struct B(A);",
    }
    broken = {**sound, "a/mod.rs": "mod c;\npub use c::C;\npub struct A(crate::b::B);", "b.rs": "use crate::a::C;\npub struct B(C);"}
    found = []
    for files in (sound, broken):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                file = Path(folder) / "src" / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            crate = Crate(Path(folder))
            arrows = {module.file: crate.arrows(module) for module in crate.modules.values()}
            found.append(max(map(len, components(arrows))))
    if found != [1, 3]:
        sys.exit(f"module-cycles.py does not find the cycle that it plants: {found}")


def main():
    check_itself()
    folders = sorted(folder.parent for folder in ROOT.glob("crates/*/Cargo.toml"))
    chosen = [folder for folder in folders if not sys.argv[1:] or folder.name in sys.argv[1:]]
    used = set()
    count = sum(cycles(Crate(folder), used) for folder in chosen)
    for name, place in EXCEPTIONS:
        if (ROOT / "crates" / name) in chosen and (name, place) not in used:
            print(f"EXCEPTIONS: `crates/{name}/src/{place}` has no cycle any more: take it out")
            count += 1
    if count:
        return f"{count} found: move what is shared into a file below its users"
    print(f"no cycle of more than two files in {len(chosen)} crates")
    return 0


if __name__ == "__main__":
    sys.exit(main())
