//! What to do about each kind of finding: the words of the runbook.

use std::collections::BTreeMap;

use tipline_ops::dashboard::Remedy;

/// Its sections are the kinds of findings; a test holds it to them.
const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

/// By the name of the kind.
pub(crate) fn remedies() -> BTreeMap<String, Remedy> {
    sections().map(|(kind, text)| (kind.to_owned(), remedy(text))).collect()
}

/// What to do first about a finding of this kind, without any marks.
pub(crate) fn first_fix(kind: &str) -> Option<String> {
    let (_, section) = sections().find(|(name, _)| *name == kind)?;
    let fix = remedy(section).fix.into_iter().next()?;
    Some(fix.replace('`', ""))
}

fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = RUNBOOK.split("\n## ").skip(1);
    sections.filter_map(|section| section.split_once('\n')).map(|(kind, text)| (kind.trim(), text))
}

fn remedy(section: &str) -> Remedy {
    let items = |name: &str| -> Vec<String> {
        let begins = format!("- **{name}:** ");
        let lines = section.lines().filter_map(|line| line.strip_prefix(begins.as_str()));
        lines.map(plain).collect()
    };
    let risk = items("At risk").into_iter().next().unwrap_or_default();
    Remedy { risk, check: items("Check"), fix: items("Fix") }
}

/// Without the marks of Markdown, but for backquotes: of a link only its words.
fn plain(line: &str) -> String {
    let (mut text, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(before);
        let link =
            after.split_once("](").and_then(|(words, to)| Some((words, to.split_once(')')?.1)));
        match link.filter(|(words, _)| !words.contains(['[', ']'])) {
            Some((words, after)) => {
                text.push_str(words);
                rest = after;
            }
            None => {
                text.push('[');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text.replace('*', "")
}

#[cfg(test)]
mod tests {
    use tipline_ops::Kind;

    use super::{first_fix, plain, remedies};

    #[test]
    fn every_kind_of_finding_has_what_to_do() {
        let remedies = remedies();
        for kind in Kind::ALL {
            let name = serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned();
            let remedy = remedies.get(&name).expect(&name);
            assert!(!remedy.risk.is_empty() && !remedy.fix.is_empty(), "{name}: {remedy:?}");
            let mut lines = remedy.check.iter().chain(&remedy.fix).chain([&remedy.risk]);
            assert!(lines.all(|line| !line.contains("](")), "{name}: {remedy:?}");
            assert_eq!(first_fix(&name), Some(remedy.fix[0].replace('`', "")));
        }
        assert_eq!(first_fix("no-such-kind"), None);
    }

    #[test]
    fn a_link_is_its_words() {
        let line =
            "If *all* are: [restore](disaster.md) it, see [the page](a.md#b). `x [y]`, **now**";
        assert_eq!(plain(line), "If all are: restore it, see the page. `x [y]`, now");
        let line = "see `a [b] c`, then [the page](x.md#y)";
        assert_eq!(plain(line), "see `a [b] c`, then the page");
    }
}
