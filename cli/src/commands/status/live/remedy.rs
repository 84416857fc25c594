//! What to do about a finding, in a line: what the runbook says first.

/// Its sections are the kinds of findings; a test holds it to them.
const RUNBOOK: &str = include_str!("../../../../../docs/runbook.md");

/// What to do about a finding of this kind.
pub(super) fn remedy(kind: &str) -> Option<String> {
    let title = format!("\n## {kind}\n");
    let section = RUNBOOK.split_once(&title)?.1;
    let section = section.split("\n## ").next()?;
    let line = section.lines().find_map(|line| line.strip_prefix("- **Fix:** "))?;
    Some(plain(line))
}

/// Without the marks of the page.
fn plain(line: &str) -> String {
    let (mut text, mut rest) = (String::new(), line);
    // A link is its words.
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(before);
        let Some((words, target)) = after.split_once("](") else {
            text.push('[');
            rest = after;
            continue;
        };
        text.push_str(words);
        rest = target.split_once(')').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    text.replace(['`', '*'], "")
}

#[cfg(test)]
mod tests {
    use tipline_ops::Kind;

    use super::{plain, remedy};

    #[test]
    fn every_kind_of_finding_has_something_to_do() {
        for kind in Kind::ALL {
            let kind = serde_json::to_value(kind).unwrap();
            let remedy = remedy(kind.as_str().unwrap());
            let is_clean = |text: &String| !text.is_empty() && !text.contains("](");
            assert!(remedy.as_ref().is_some_and(is_clean), "{kind}: {remedy:?}");
        }
    }

    #[test]
    fn a_link_is_its_words() {
        assert_eq!(
            plain("see [the page](x.md#y), or `a [b] c` **now**"),
            "see the page, or a [b] c now"
        );
    }
}
