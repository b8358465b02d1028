//! Files of a package import each other downwards only. The circles that are left are named here, each with its reason.

use std::collections::{BTreeMap, BTreeSet};

use super::{files, without_tests};

/// A file of each circle that is left, and why.
const LEFT: [(&str, &str); 2] = [
    ("schemas/src/objects/decode.rs", "a message of SNS holds a document of any dialect, one of SNS too"),
    (
        "pipeline/engine/src/testing/simulator/database.rs",
        "cores, locks and commits of the simulated database act on each other by events of one agenda",
    ),
];

/// A module by its path within the package: `["sinks", "tables"]`.
type Path = Vec<String>;

#[derive(Debug, Default)]
struct Module {
    file: String,
    /// What it imports, as written, and whether it only hands it on (`pub use`).
    uses: Vec<(Path, bool)>,
}

type Package = BTreeMap<Path, Module>;

/// The modules of each package.
fn packages() -> BTreeMap<String, Package> {
    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    for (file, text) in files(".rs") {
        let Some((package, path)) = file.split_once("/src/").filter(|(package, _)| *package != "tests") else {
            continue;
        };
        let path = path.strip_suffix(".rs").unwrap_or(path);
        // A binary beside a library is a package of its own.
        let (package, path) = match path {
            "main" => (format!("{package} (binary)"), Path::new()),
            "lib" => (package.to_owned(), Path::new()),
            path => (package.to_owned(), path.split('/').map(str::to_owned).collect()),
        };
        packages
            .entry(package)
            .or_default()
            .insert(path, Module { file: file.clone(), uses: uses(without_tests(&text)) });
    }
    packages
}

/// Everything that a text imports.
fn uses(text: &str) -> Vec<(Path, bool)> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for statement in code.split([';', '}', '\n']).map(str::trim).filter(|words| is_use(words)) {
        // The whole of it, with its braces.
        let begin = statement.as_ptr() as usize - code.as_ptr() as usize;
        let whole = code[begin..].split(';').next().unwrap_or_default();
        let (before, tree) = whole.split_once("use ").unwrap_or_default();
        let is_handed_on = before.starts_with("pub");
        found.extend(flat(tree, &Path::new()).into_iter().map(|path| (path, is_handed_on)));
    }
    found
}

fn is_use(words: &str) -> bool {
    ["use ", "pub use ", "pub(crate) use ", "pub(super) use "].iter().any(|begin| words.starts_with(begin))
}

/// The paths of a tree of imports.
fn flat(tree: &str, before: &Path) -> Vec<Path> {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree);
        let parts = name.split("::").map(|part| part.trim().to_owned());
        return vec![before.iter().cloned().chain(parts).collect()];
    };
    let parts = head.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned);
    let before: Path = before.iter().cloned().chain(parts).collect();
    let mut depth = 0;
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let branches = inner.split(|letter: char| {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        letter == ',' && depth == 0
    });
    branches.filter(|branch| !branch.trim().is_empty()).flat_map(|branch| flat(branch, &before)).collect()
}

/// A path as it is from the package's root; `None` for what is of another package.
fn from_root(package: &Package, module: &Path, path: &Path) -> Option<Path> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            Some([&module[..module.len().checked_sub(ups)?], &path[ups..]].concat())
        }
        child => {
            let child = [&module[..], &[child.to_owned()]].concat();
            package.contains_key(&child).then(|| [&module[..], path].concat())
        }
    }
}

/// The module that defines what stands at a path: names that are handed on are followed.
fn defined_in(package: &Package, path: &Path, seen: &mut BTreeSet<Path>) -> Path {
    if package.contains_key(path) || path.is_empty() || !seen.insert(path.clone()) {
        return path.clone();
    }
    let (name, module) = path.split_last().unwrap_or((&path[0], &[]));
    let module = module.to_vec();
    let Some(there) = package.get(&module) else { return defined_in(package, &module, seen) };
    let from = there.uses.iter().find(|(used, _)| used.last() == Some(name));
    let from = from.and_then(|(used, _)| from_root(package, &module, used)).filter(|from| from != path);
    let found = from.map_or(module.clone(), |from| defined_in(package, &from, seen));
    if package.contains_key(&found) { found } else { module }
}

/// Which modules each module imports from.
fn arrows(package: &Package) -> BTreeMap<&Path, BTreeSet<Path>> {
    let of = |module: &Path, there: &Module| {
        let imports = there.uses.iter().filter(|(_, is_handed_on)| !is_handed_on);
        let from = imports.filter_map(|(path, _)| from_root(package, module, path));
        let from = from.map(|path| defined_in(package, &path, &mut BTreeSet::new()));
        from.filter(|from| from != module && package.contains_key(from)).collect()
    };
    package.iter().map(|(module, there)| (module, of(module, there))).collect()
}

/// Everything that can be reached from a module.
fn reached(arrows: &BTreeMap<&Path, BTreeSet<Path>>, from: &Path) -> BTreeSet<Path> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![from.clone()];
    while let Some(module) = waiting.pop() {
        for next in arrows.get(&module).into_iter().flatten() {
            if reached.insert(next.clone()) {
                waiting.push(next.clone());
            }
        }
    }
    reached
}

/// The circles of a package: files that reach each other.
fn circles(package: &Package) -> BTreeSet<BTreeSet<String>> {
    let arrows = arrows(package);
    let reached: BTreeMap<&Path, BTreeSet<Path>> =
        package.keys().map(|module| (module, self::reached(&arrows, module))).collect();
    let circle = |module: &Path| {
        let others = reached[module].iter().filter(|other| reached[*other].contains(module));
        others.map(|other| package[other].file.clone()).collect::<BTreeSet<String>>()
    };
    package.keys().map(circle).filter(|circle| circle.len() > 1).collect()
}

#[test]
fn files_import_each_other_in_no_other_circles() {
    let packages = packages();
    assert!(packages.values().map(Package::len).sum::<usize>() > 200, "the files are found at all");
    let all: Vec<BTreeSet<String>> = packages.values().flat_map(circles).collect();
    let is_left = |circle: &&BTreeSet<String>| LEFT.iter().any(|(file, _)| circle.contains(*file));
    let new: Vec<String> = all.iter().filter(|circle| !is_left(circle)).map(|circle| format!("{circle:?}")).collect();
    super::none("import each other", new);
    let gone = LEFT.iter().filter(|(file, _)| !all.iter().any(|circle| circle.contains(*file)));
    super::none("in no circle any more, so no reason is needed", gone.map(|(file, _)| (*file).to_owned()).collect());
}

#[test]
fn a_circle_is_found_through_names_that_are_handed_on() {
    let module = |file: &str, text: &str| Module { file: file.to_owned(), uses: uses(text) };
    let path = |text: &str| text.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect::<Path>();
    let package = Package::from([
        (path(""), module("lib", "pub mod a;\npub mod b;\npub use a::{\n    Low,\n    deep::Other as Another,\n};")),
        (path("a"), module("a", "mod deep;\nuse std::fmt;\nuse crate::b::{self, High};")),
        (path("a::deep"), module("deep", "// use crate::b;\nuse super::super::c::X;")),
        (path("b"), module("b", "use crate::Low;")),
        (path("c"), module("c", "")),
    ]);
    let found = circles(&package);
    assert_eq!(found, BTreeSet::from([BTreeSet::from(["a".to_owned(), "b".to_owned()])]), "{:?}", arrows(&package));
}
