//! What is kept where.

use tipline_log::Extent;

use super::inventory::log_spans;
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

/// A week of a segment a second, twice, and no end within anybody's patience if each question looks at
/// all of them.
#[test]
fn many_spans_are_covered_without_looking_at_each_for_each() {
    const COUNT: u64 = 604_800;
    let mut spans: Vec<Span> = (1..=COUNT).map(|at| span(at, at, 0)).collect();
    spans.extend((1..=COUNT).map(|at| span(at, at, 1)));
    let mut coverage = Coverage::new(spans);
    assert_eq!(coverage.cover(0, COUNT).unwrap().len() as u64, COUNT);
    assert_eq!(coverage.gaps(), []);
    assert_eq!(coverage.newest_first().len() as u64, COUNT);
    coverage.give_up(&span(COUNT - 7, COUNT - 7, 0));
    assert_eq!(coverage.cover(COUNT - 8, COUNT).unwrap()[0].source, 1);
    coverage.give_up(&span(COUNT - 7, COUNT - 7, 1));
    assert_eq!(coverage.gaps(), [Gap { first: COUNT - 7, last: COUNT - 7 }]);
}

/// However many entries a broker says that it holds.
#[test]
fn a_log_is_no_more_spans_than_can_be_held() {
    let huge = i64::MAX as u64;
    for (first, last) in [(1, 1), (5, 4), (1, 25_000), (7, 2_000_000_000), (1, huge), (huge, huge)]
    {
        let spans: Vec<Span> = log_spans(Extent { first, last }, 3).collect();
        assert!(spans.len() <= 100_000, "{}", spans.len());
        let mut at = first;
        for span in &spans {
            assert_eq!((span.first, span.source), (at, 3));
            at = span.last + 1;
        }
        assert_eq!(at, last + 1, "{first} to {last}");
    }
    assert_eq!(log_spans(Extent { first: 1, last: 25_000 }, 0).count(), 3);
}

/// Against the plain definition.
#[test]
fn any_spans_are_covered_as_by_looking_at_all_of_them() {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
    let mut within = |most: u64| rand::RngExt::random_range(&mut rng, 0..most);
    for _ in 0..300 {
        let count = within(12);
        let spans: Vec<Span> = (0..count)
            .map(|_| {
                let (first, source) = (1 + within(30), within(3) as usize);
                span(first, first + within(10), source)
            })
            .collect();
        let mut coverage = Coverage::new(spans.clone());
        let mut good = spans.clone();
        for given_up in spans.iter().take(within(3) as usize) {
            coverage.give_up(given_up);
            good.retain(|span| span != given_up);
        }
        for after in 0..45 {
            let has_it = |span: &&Span| span.first <= after + 1 && after < span.last;
            let farthest = good.iter().filter(has_it).map(|span| span.last).max();
            let earliest = good.iter().filter(has_it).filter(|span| Some(span.last) == farthest);
            let expected = farthest.zip(earliest.map(|span| span.source).min());
            let found = coverage.next(after).map(|span| (span.last, span.source));
            assert_eq!(found, expected, "after {after} of {good:?}");
        }
        assert_eq!(coverage.newest(), good.iter().map(|span| span.last).max());
        assert_eq!(coverage.oldest(), good.iter().map(|span| span.first).min());
    }
}
