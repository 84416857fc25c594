//! What to do about each kind of finding: the words of the runbook.

use std::collections::BTreeMap;

use tipline_ops::dashboard::Remedy;

const RUNBOOK: &str = include_str!("../../../../docs/runbook.md");

/// By the name of the kind.
pub(super) fn all() -> BTreeMap<String, Remedy> {
    let sections = RUNBOOK.split("\n## ").skip(1);
    let named = sections.filter_map(|section| section.split_once('\n'));
    named.map(|(kind, text)| (kind.trim().to_owned(), remedy(text))).collect()
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
    while let Some((before, link)) = rest.split_once('[') {
        let Some((words, (_, after))) =
            link.split_once("](").and_then(|(words, to)| Some((words, to.split_once(')')?)))
        else {
            break;
        };
        text.push_str(before);
        text.push_str(words);
        rest = after;
    }
    text.push_str(rest);
    text.replace("**", "").replace('*', "")
}

#[cfg(test)]
mod tests {
    use tipline_ops::Kind;

    use super::{all, plain};

    #[test]
    fn every_kind_of_finding_has_what_to_do() {
        let remedies = all();
        for kind in Kind::ALL {
            let name = serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned();
            let remedy = remedies.get(&name).expect(&name);
            assert!(!remedy.risk.is_empty() && !remedy.fix.is_empty(), "{name}: {remedy:?}");
            let mut lines = remedy.check.iter().chain(&remedy.fix).chain([&remedy.risk]);
            assert!(lines.all(|line| !line.contains("](")), "{name}: {remedy:?}");
        }
    }

    #[test]
    fn a_link_is_its_words() {
        let line = "If *all* are: [restore](disaster.md) it, see [the page](a.md#b). `x [y]`";
        assert_eq!(plain(line), "If all are: restore it, see the page. `x [y]`");
    }
}
