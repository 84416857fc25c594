//! What the documentation names is there, and what is there is documented.

use std::collections::BTreeSet;
use std::fs;

use super::sources::{read, root, rust, with_extension};

/// Pages that tell people what they can set.
const PAGES: &[&str] =
    &["README.md", "CONTRIBUTING.md", "docs/operate.md", "docs/health.md", "docs/disaster.md"];

/// Names in a text that begin with `TIPLINE_`.
fn variables(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let starts = text.match_indices("TIPLINE_").map(|(at, _)| at);
    let names = starts.map(|at| {
        let end = text[at..].find(|c| !is_part(c)).map_or(text.len(), |length| at + length);
        text[at..end].trim_end_matches('_').to_owned()
    });
    names.filter(|name| name != "TIPLINE").collect()
}

fn documented() -> BTreeSet<String> {
    PAGES.iter().flat_map(|page| variables(&read(page))).collect()
}

#[test]
fn every_setting_of_the_program_is_documented() {
    let documented = documented();
    for source in rust().iter().filter(|source| source.path.starts_with("cli/src/")) {
        for line in source.text.lines() {
            let Some((_, name)) = line.split_once("env = \"") else { continue };
            let name = name.split('"').next().unwrap();
            assert!(documented.contains(name), "{}: {name} is on no page", source.path);
        }
    }
}

#[test]
fn every_variable_in_the_documentation_is_read_by_somebody() {
    let mut read_somewhere: BTreeSet<String> = BTreeSet::new();
    for source in rust() {
        read_somewhere.extend(variables(&source.text));
    }
    for script in ["tests/run", "tests/tools", ".ci/run"] {
        read_somewhere.extend(variables(&read(script)));
    }
    let unread: Vec<_> = documented().difference(&read_somewhere).cloned().collect();
    assert!(unread.is_empty(), "nobody reads {unread:?}");
}

#[test]
fn every_exit_code_is_documented_and_every_documented_one_is_there() {
    let text = read("cli/src/exit.rs");
    let numbers = text.lines().filter_map(|line| {
        let (name, number) = line.trim().trim_end_matches(',').split_once(" = ")?;
        let is_name =
            name.chars().all(char::is_alphanumeric) && name.starts_with(char::is_uppercase);
        is_name.then_some(())?;
        number.parse::<u8>().ok()
    });
    let there: BTreeSet<u8> = numbers.collect();
    assert!(there.len() > 5, "{there:?}");
    let tables = |page: &str| {
        let (mut codes, mut in_table) = (BTreeSet::new(), false);
        for line in read(page).lines() {
            let Some(row) = line.strip_prefix('|') else {
                in_table = false;
                continue;
            };
            let cell = row.split('|').next().unwrap().trim();
            in_table |= cell.starts_with("exit code") || cell.starts_with("code");
            if in_table && let Ok(code) = cell.trim_matches('`').parse::<u8>() {
                codes.insert(code);
            }
        }
        codes
    };
    let page = "docs/operate.md";
    assert_eq!(there, tables(page), "left: in cli/src/exit.rs, right: in the tables of {page}");
    for page in PAGES {
        let unknown: Vec<_> = tables(page).difference(&there).copied().collect();
        assert!(unknown.is_empty(), "{page}: nothing ends with {unknown:?}");
    }
    let help = read("cli/src/args.rs");
    let (_, help) = help.split_once("Exit codes:\n").unwrap();
    let lines = help.lines().take_while(|line| line.starts_with("  "));
    let said: BTreeSet<u8> =
        lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    assert_eq!(there, said, "left: in cli/src/exit.rs, right: in `tipline --help`");
}

/// Paths of files that a page names in `…` or links to are there.
#[test]
fn every_file_that_a_page_names_is_there() {
    let mut missing = Vec::new();
    let mut pages: Vec<(String, String)> =
        ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "RELEASING.md", "SECURITY.md"]
            .map(|page| (page.to_owned(), read(page)))
            .to_vec();
    for folder in ["docs", "docs/decisions"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|is| is == "md") {
                let name = path.file_name().unwrap().to_str().unwrap();
                pages.push((format!("{folder}/{name}"), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(pages.len() > 50, "{}", pages.len());
    let packages = super::sources::PACKAGES.map(|package| format!("{package}/"));
    for (page, text) in &pages {
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_path = packages.iter().any(|package| quoted.starts_with(package.as_str()));
            let is_pattern = quoted.contains(['{', '*', '<', ' ', '…']) || quoted.contains("NAME");
            if is_path && !is_pattern && !root().join(quoted).exists() {
                missing.push(format!("{page}: `{quoted}`"));
            }
        }
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            let is_file = !path.is_empty() && !path.contains("://");
            let folder = root().join(page).parent().unwrap().to_owned();
            if is_file && !folder.join(path).exists() {
                missing.push(format!("{page}: ({link})"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A package that is released says what it is.
#[test]
fn every_package_describes_itself() {
    for source in with_extension("toml").iter().filter(|s| s.path.ends_with("/Cargo.toml")) {
        if source.path.matches('/').count() > 1 {
            continue;
        }
        let manifest: toml::Table = source.text.parse().unwrap();
        let package = manifest["package"].as_table().unwrap();
        for key in ["description", "license", "version", "rust-version"] {
            assert!(package.contains_key(key), "{}: no {key}", source.path);
        }
    }
}
