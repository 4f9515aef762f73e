//! Which file of the source uses which, read from the paths that begin with `crate`, `super` or `self`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module as its path: `["hub", "item"]`.
type Module = Vec<String>;

/// What each module uses of others. A module may use its own children.
pub fn imports(files: &[(Module, String)]) -> BTreeMap<Module, BTreeSet<Module>> {
    let modules: BTreeSet<Module> = files.iter().map(|(module, _)| module.clone()).collect();
    let defined_in = |path: &[String]| {
        let own = (0..=path.len()).rev().map(|count| &path[..count]);
        own.map(<[String]>::to_vec).find(|module| modules.contains(module)).unwrap_or_default()
    };
    // Where a name comes from that a module passes on with `pub use`.
    let mut passed_on: BTreeMap<(Module, String), Module> = BTreeMap::new();
    for (module, code) in files {
        for line in code.split(';').filter_map(|part| part.split("pub").nth(1)) {
            let Some((_, tree)) = line.split_once(" use ") else { continue };
            for path in named(module, tree, true) {
                let Some((name, from)) = path.split_last() else { continue };
                passed_on.insert((module.clone(), name.clone()), defined_in(from));
            }
        }
    }
    let mut imports = BTreeMap::new();
    for (module, code) in files {
        let mut used = BTreeSet::new();
        for path in paths(module, code) {
            let mut from = defined_in(&path);
            if let Some(name) = path.get(from.len()) {
                from = passed_on.get(&(from.clone(), name.clone())).cloned().unwrap_or(from);
            }
            if from != *module && !from.is_empty() {
                used.insert(from);
            }
        }
        imports.insert(module.clone(), used);
    }
    imports
}

/// The module that a file below `src` is.
pub fn module_of(source: &Path, file: &Path) -> Module {
    let relative = file.strip_prefix(source).expect("below src").with_extension("");
    let names = relative.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    names.filter(|name| !["mod", "lib"].contains(&&**name)).collect()
}

/// The modules that use each other, directly or not, without their children.
pub fn circles(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<String>> {
    let reached_from = |start: &Module| {
        let mut reached: BTreeSet<&Module> = BTreeSet::new();
        let mut left: Vec<&Module> = imports[start].iter().collect();
        while let Some(module) = left.pop() {
            if reached.insert(module) {
                left.extend(imports.get(module).into_iter().flatten());
            }
        }
        reached
    };
    let reached: BTreeMap<&Module, _> = imports.keys().map(|m| (m, reached_from(m))).collect();
    let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
    for (module, own) in &reached {
        let circle = own.iter().filter(|other| reached[**other].contains(*module));
        let names: BTreeSet<String> = circle.map(|other| other.join("::")).collect();
        if !names.is_empty() {
            circles.insert(names.into_iter().collect());
        }
    }
    circles.into_iter().collect()
}

/// All paths in a file's code that begin with `crate`, `super` or `self`, from the crate's root.
fn paths(module: &Module, code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let before = &code[..at];
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let begin = before.rfind(|c| !is_word(c)).map_or(0, |place| place + 1);
        if ["crate", "super", "self"].contains(&&before[begin..]) {
            found.extend(named(module, &code[begin..], false));
        }
    }
    found
}

/// What a tree of names as in `use super::{a::B, c}` stands for, from the crate's root. `is_local`: a name may
/// also be that of a child.
fn named(module: &Module, tree: &str, is_local: bool) -> Vec<Module> {
    let mut base = Vec::new();
    let mut rest = tree.trim_start();
    let mut is_absolute = false;
    if let Some(after) = rest.strip_prefix("crate::") {
        (rest, is_absolute) = (after, true);
    } else if let Some(after) = rest.strip_prefix("self::") {
        (base, rest, is_absolute) = (module.clone(), after, true);
    } else if rest.starts_with("super::") {
        (base, is_absolute) = (module.clone(), true);
        while let Some(after) = rest.strip_prefix("super::") {
            base.pop();
            rest = after;
        }
    }
    match (is_absolute, is_local) {
        (false, false) => return Vec::new(),
        (false, true) => base = module.clone(),
        (true, _) => {}
    }
    let mut found = Vec::new();
    expand(&base, rest, &mut found);
    found
}

/// Adds every path of a tree; returns what comes after it.
fn expand<'a>(base: &Module, tree: &'a str, found: &mut Vec<Module>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut rest) = tree.strip_prefix('{') {
        loop {
            rest = expand(base, rest, found).trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start(),
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
        }
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = tree.find(|c| !is_name(c)).unwrap_or(tree.len());
    let (name, rest) = tree.split_at(end);
    if name.is_empty() {
        return rest;
    }
    let path = [base.clone(), vec![name.to_owned()]].concat();
    match rest.strip_prefix("::") {
        Some(after) => expand(&path, after, found),
        None => {
            found.push(path);
            rest
        }
    }
}
