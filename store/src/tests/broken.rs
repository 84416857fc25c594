//! The suite finds what it is there to find: stores that are wrong do not pass.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::plain::{PlainStore, Wrong};
use crate::conformance::{Appends, Open, run};

/// A test that a store wrong in this way does not pass the case, and by what that is told.
macro_rules! caught {
    ($($name:ident: $wrong:ident by $case:literal as $says:expr;)+) => {
        $(
            #[test]
            fn $name() {
                let test = concat!(module_path!(), "::", stringify!($name));
                let open: Open = |path| Ok(Box::new(PlainStore::open(path, Wrong::$wrong)?));
                assert_caught(test, $case, open, &$says);
            }
        )+
    };
}

caught! {
    renaming_before_fsync: RenamesBeforeFsync by "power_cut" as [DOES_NOT_OPEN];
    acknowledging_before_fsync: FsyncsWithTheNextBatch by "power_cut" as [DOES_NOT_OPEN, BEHIND];
    the_cursor_before_the_data: CursorBeforeData by "power_cut" as [DOES_NOT_OPEN];
    no_fsync_of_the_directory: NeverFsyncsTheDirectory by "power_cut" as [DOES_NOT_OPEN, BEHIND, FORGOTTEN];
    showing_what_is_not_durable: TrustsWhatItFinds by "power_cut" as [BEHIND, FORGOTTEN];
    overwriting_in_place: WritesInPlace by "power_cut" as [DOES_NOT_OPEN, BEHIND];
    taking_a_failed_fsync_for_done: SwallowsFailedFsyncs by "failing_writes" as [DOES_NOT_OPEN, BEHIND];
    copying_without_fsync: CopiesWithoutFsync by "power_cut" as [COPY];
    copying_a_later_moment: CopiesALaterMoment by "power_cut" as [COPY];
    going_on_after_a_failure: GoesOnAfterErrors by "failing_writes" as ["the handle must refuse"];
}

const DOES_NOT_OPEN: &str = "it does not open";
const BEHIND: &str = "which it had acknowledged";
const COPY: &str = "the copy";
const FORGOTTEN: &str = "and knows nothing of it";

fn assert_caught(test: &'static str, case: &str, open: Open, says: &[&str]) {
    let passed = catch_unwind(AssertUnwindSafe(|| run(test, case, open, Appends::Torn)));
    let message = text(&*passed.expect_err("it passed"));
    assert!(says.iter().any(|says| message.contains(says)), "caught as {message:?}");
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap()
}

/// And one that is right passes.
mod right {
    use super::{Appends, Open, PlainStore, Wrong, run};

    const OPEN: Open = |path| Ok(Box::new(PlainStore::open(path, Wrong::Nothing)?));

    #[test]
    fn power_cut() {
        run(concat!(module_path!(), "::power_cut"), "power_cut", OPEN, Appends::Torn);
    }

    #[test]
    fn failing_writes() {
        run(concat!(module_path!(), "::failing_writes"), "failing_writes", OPEN, Appends::Torn);
    }
}
