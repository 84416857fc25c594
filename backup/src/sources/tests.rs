//! What is kept where.

use super::spans::{Coverage, Gap, Span};

fn span(first: u64, last: u64, source: usize) -> Span {
    Span { first, last, source, name: format!("{source}/{first}-{last}"), bytes: 1 }
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

#[test]
fn few_spans_cover_a_range() {
    let coverage = Coverage::new(vec![
        span(1, 3, 0),
        span(4, 6, 0),
        span(1, 6, 0),
        span(5, 9, 1),
        span(7, 8, 0),
    ]);
    assert_eq!(names(&coverage.cover(0, 9).unwrap()), ["0/1-6", "1/5-9"]);
    assert_eq!(names(&coverage.cover(4, 6).unwrap()), ["1/5-9"]);
    assert_eq!(names(&coverage.cover(3, 4).unwrap()), ["0/4-6"], "of equal reach the smallest");
    assert_eq!(coverage.cover(9, 9).unwrap(), []);
    assert_eq!(coverage.cover(0, 11), Err(Gap { first: 10, last: 11 }));
    assert_eq!(names(&coverage.newest_first()), ["1/5-9", "0/1-6"]);
    assert_eq!(coverage.gaps(), []);
}

#[test]
fn gaps_are_named() {
    let mut coverage = Coverage::new(vec![span(3, 4, 0), span(6, 8, 0), span(12, 13, 1)]);
    assert_eq!(coverage.cover(0, 13), Err(Gap { first: 1, last: 2 }));
    assert_eq!(coverage.cover(2, 13), Err(Gap { first: 5, last: 5 }));
    assert_eq!(coverage.gaps(), [Gap { first: 5, last: 5 }, Gap { first: 9, last: 11 }]);
    assert_eq!(names(&coverage.newest_first()), ["1/12-13", "0/6-8", "0/3-4"]);
    assert_eq!((coverage.oldest(), coverage.newest()), (Some(3), Some(13)));
    coverage.give_up(&span(6, 8, 0));
    assert_eq!(coverage.gaps(), [Gap { first: 5, last: 11 }]);
    assert_eq!(coverage.cover(4, 13), Err(Gap { first: 5, last: 11 }));
}

#[test]
fn what_is_bad_is_passed_by() {
    let mut coverage = Coverage::new(vec![span(1, 3, 0), span(4, 6, 0), span(1, 6, 0)]);
    coverage.give_up(&span(1, 6, 0));
    assert_eq!(names(&coverage.cover(0, 6).unwrap()), ["0/1-3", "0/4-6"]);
}
