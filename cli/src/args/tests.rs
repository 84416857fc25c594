//! The command line, and the settings that are defined by it.

// With all that a build may leave out.
#[cfg(all(feature = "rocksdb", feature = "cloud"))]
mod documented;
mod fuzzed;

use clap::FromArgMatches;
use tipline_log::Accepted;

use super::{Args, command};
use crate::commands::Command;
use crate::settings::{self, BadSettings};

#[test]
fn the_command_line_does_not_contradict_itself() {
    command().debug_assert();
}

fn loaded(file: &str, flags: &[&str]) -> Args {
    load(file, flags, &[]).unwrap()
}

const FILE: &str = "
    log = 'nats://a:4222/main'
    accept-shortfalls = true
    nats-user = 'node'
    nats-password = 's3cret'
    [backup]
    name = 'backup-1'
    store = 'sqlite:b.db'
";

#[test]
fn the_file_sets_what_no_flag_sets() {
    let args = loaded(FILE, &["backup", "--name", "backup-2"]);
    assert_eq!(args.shared.log.to_string(), "nats://a:4222/main");
    assert_eq!(args.shared.accept_shortfalls, Accepted::Everything);
    let told = format!("{:?}", args.command);
    assert!(matches!(args.command, Command::Backup(_)));
    assert!(told.contains("backup-2") && told.contains("b.db"), "{told}");
}

#[test]
fn shortfalls_are_accepted_bare_or_by_name() {
    let named = |text: &str| Accepted::Named(text.split(',').map(str::to_owned).collect());
    let accepted = |flags: &[&str]| load("", flags, &[]).map(|args| args.shared.accept_shortfalls);
    assert_eq!(accepted(&["status"]).unwrap(), Accepted::Nothing);
    assert_eq!(accepted(&["--accept-shortfalls", "status"]).unwrap(), Accepted::Everything);
    let by_name = accepted(&["status", "--accept-shortfalls=max-age,single-replica"]);
    assert_eq!(by_name.unwrap(), named("max-age,single-replica"));
    assert!(accepted(&["status", "--accept-shortfalls=max-ages"]).is_err());
    let in_file = loaded("accept-shortfalls = 'single-replica'", &["status"]);
    assert_eq!(in_file.shared.accept_shortfalls, named("single-replica"));
    let without = loaded("accept-shortfalls = false", &["status"]);
    assert_eq!(without.shared.accept_shortfalls, Accepted::Nothing);
}

#[test]
fn commands_below_another_share_its_table() {
    let file = "[dr]\nfrom = 'dir:b'\n[checkpoint]\nupload = 'dir:c'\nstore = 'sqlite:s.db'\n";
    let told = |flags: &[&str]| format!("{:?}", loaded(file, flags).command);
    assert!(told(&["dr", "plan"]).contains("dir:b"));
    let created = told(&["checkpoint", "create"]);
    assert!(created.contains("dir:c") && created.contains("s.db"), "{created}");
    let flag = told(&["checkpoint", "create", "--upload", "dir:d"]);
    assert!(flag.contains("dir:d") && !flag.contains("dir:c"), "{flag}");
}

/// Every option with a variable has a key in the file.
#[test]
fn every_variable_has_a_key() {
    fn each(command: &clap::Command, table: &str, wrong: &mut Vec<String>) {
        for arg in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
            let key = arg.get_long().unwrap_or_default();
            // A value of the wrong kind: only a known key has a kind.
            let file = format!("{table}\n{key} = [1]\n");
            let told = load(&file, &["status"], &[]).unwrap_err().to_string();
            if key != "config" && !told.starts_with("wrong value") {
                wrong.push(told);
            }
        }
        for below in command.get_subcommands() {
            let own = format!("[{}]", below.get_name());
            each(below, if table.is_empty() { &own } else { table }, wrong);
        }
    }
    let mut wrong = Vec::new();
    each(&command(), "", &mut wrong);
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn flags_count_on_both_sides_of_the_command() {
    for flags in [["--log", "embedded:x", "status"], ["status", "--log", "embedded:x"]] {
        assert_eq!(loaded(FILE, &flags).shared.log.to_string(), "embedded:x");
    }
}

#[test]
fn a_password_is_printed_nowhere() {
    let args = loaded(FILE, &["status"]);
    assert!(!format!("{args:?}").contains("s3cret"));
}

fn load(
    file: impl AsRef<[u8]>,
    flags: &[&str],
    variables: &[(&str, &str)],
) -> Result<Args, BadSettings> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tipline.toml");
    std::fs::write(&path, file).unwrap();
    // It may have a secret.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).unwrap();
    let path = path.display().to_string();
    let arguments = [&["tipline", "--config", &path], flags].concat();
    let arguments = arguments.into_iter().map(Into::into).collect();
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    let matches = settings::load(command(), arguments, variables)?;
    Ok(Args::from_arg_matches(&matches)?)
}

/// What is said of a file that cannot be used.
fn refused(file: &str) -> String {
    let text = load(file, &["status"], &[]).unwrap_err().to_string();
    let at = text.find("tipline.toml").unwrap();
    let before = text[..at].rfind(' ').map_or(0, |space| space + 1);
    text[..before].to_owned() + &text[at..]
}

/// What is said of a variable that nobody reads.
fn refused_variable(name: &str) -> Option<String> {
    load("", &["status"], &[(name, "x")]).err().map(|error| error.to_string())
}

#[test]
fn an_unknown_key_is_an_error_with_its_line_and_a_suggestion() {
    assert_eq!(
        refused("# a replica\n[replica]\nstor = \"sqlite:a.db\"\n"),
        "unknown key `stor` in tipline.toml line 3: did you mean `store`?"
    );
    assert_eq!(
        refused("[replika]\nname = \"a\"\n"),
        "unknown key `replika` in tipline.toml line 1: did you mean `replica`?"
    );
    assert_eq!(
        refused("silent-after = \"20s\""),
        "unknown key `silent-after` in tipline.toml line 1: it belongs under [status] or [dashboard]"
    );
    assert_eq!(
        refused("[status]\nlog = \"embedded:x\""),
        "unknown key `log` in tipline.toml line 2: it belongs at the top, above every [table]"
    );
    let nothing_like_it = refused("[status]\nqq = 1");
    let starts =
        "unknown key `qq` in tipline.toml line 2: use one of metrics, max-lag, max-lag-time, ";
    assert!(nothing_like_it.starts_with(starts), "{nothing_like_it}");
}

#[test]
fn a_wrong_value_is_an_error_with_its_line_and_its_key() {
    assert_eq!(
        refused("\nlog = 1.5"),
        "wrong value for `log` in tipline.toml line 2: it must be text or a number, not a float"
    );
    assert_eq!(
        refused("[primary]\nfinal-blocks = \"yes\""),
        "wrong value for `final-blocks` in tipline.toml line 2: \
         it must be true or false, not a string"
    );
    assert_eq!(
        refused("[status]\nmax-lag = -1"),
        "wrong value for `max-lag` in tipline.toml line 2: invalid digit found in string"
    );
    assert_eq!(
        refused("[backup]\nstore = \"sqlte:a.db\""),
        "wrong value for `store` in tipline.toml line 2: unknown store \"sqlte:a.db\": \
         use sqlite:PATH, rocksdb:PATH, files:PATH or composite:STORE+STORE; did you mean sqlite:a.db?"
    );
    assert_eq!(
        refused("log = [\"a\"]"),
        "wrong value for `log` in tipline.toml line 1: it must be text or a number, not an array"
    );
}

#[test]
fn what_is_not_toml_is_an_error_with_its_line() {
    let told = refused("log = \"embedded:x\"\nlog embedded\n");
    assert!(told.starts_with("tipline.toml line 2: not TOML: "), "{told}");
}

#[test]
fn a_variable_that_nobody_reads_is_an_error_with_a_suggestion() {
    assert_eq!(
        refused_variable("TIPLINE_STOR").as_deref(),
        Some("unknown environment variable TIPLINE_STOR: did you mean TIPLINE_STORE?")
    );
    let unknown = refused_variable("TIPLINE_QQ").unwrap();
    let starts = "unknown environment variable TIPLINE_QQ: unset it, or use one of TIPLINE_";
    assert!(unknown.starts_with(starts), "{unknown}");
}

#[test]
fn other_variables_are_none_of_our_business() {
    assert_eq!(refused_variable("STORE"), None);
    assert_eq!(refused_variable("TIPLINE_STORE"), None);
    for name in ["SERVICE_HOST", "SERVICE_PORT_NATS", "PORT", "PORT_4222_TCP_ADDR"] {
        assert_eq!(refused_variable(&format!("TIPLINE_PRIMARY_{name}")), None);
    }
}

/// Nothing is uploaded in the clear by a line in a file, if a recipient is given; nor the reverse.
#[test]
fn what_contradicts_a_flag_does_not_count_in_the_file() {
    let told = |file: &str, flags: &[&str]| format!("{:?}", loaded(file, flags).command);
    let create = ["checkpoint", "create", "--store", "sqlite:s.db"];
    let backup = ["backup", "--name", "b", "--store", "sqlite:s.db"];
    for (table, words) in [("checkpoint", &create[..]), ("backup", &backup[..])] {
        let (plain, sealed) =
            (format!("[{table}]\nplain = true\n"), format!("[{table}]\nrecipient = 'age1x'\n"));
        let found = told(&plain, &[words, &["--recipient", "age1y"]].concat());
        assert!(found.contains("age1y") && found.contains("plain: false"), "{found}");
        let found = told(&sealed, &[words, &["--plain"]].concat());
        assert!(found.contains("recipient: None") && found.contains("plain: true"), "{found}");
        assert!(told(&plain, words).contains("plain: true"));
        assert!(told(&sealed, words).contains("age1x"));
        let off = format!("{sealed}plain = false\n");
        assert!(told(&off, words).contains("age1x"));
        let both = refused(&format!("{sealed}plain = true\n"));
        assert_eq!(
            both,
            "wrong value for `recipient` in tipline.toml line 2: \
             it contradicts `plain`, which is given too"
        );
    }
    let merges = told(&format!("{ARCHIVE}no-merge = true\n"), &["archive", "--remove-merged"]);
    assert!(merges.contains("no_merge: false, remove_merged: true"), "{merges}");
    let leaves = told(&format!("{ARCHIVE}remove-merged = true\n"), &["archive", "--no-merge"]);
    assert!(leaves.contains("no_merge: true, remove_merged: false"), "{leaves}");
}

const ARCHIVE: &str = "[archive]\nto = \"dir:a\"\n";

/// How long the archive lingers.
fn linger(file: &str, flags: &[&str], variables: &[(&str, &str)]) -> Result<String, BadSettings> {
    let args = load(format!("{ARCHIVE}{file}"), &[&["archive"], flags].concat(), variables)?;
    let text = format!("{:?}", args.command);
    let at = text.find("linger: ").unwrap();
    Ok(text[at..].split(", offsite").next().unwrap().to_owned())
}

#[test]
fn former_names_of_settings_work() {
    let seconds = |seconds: u64| format!("linger: Some(Duration({seconds}s))");
    assert_eq!(linger("gather = \"5s\"", &[], &[]).unwrap(), seconds(5));
    assert_eq!(linger("linger = \"5s\"", &[], &[]).unwrap(), seconds(5));
    let variable = [("TIPLINE_GATHER", "6s")];
    assert_eq!(linger("", &[], &variable).unwrap(), seconds(6));
    assert_eq!(linger("linger = \"5s\"", &[], &variable).unwrap(), seconds(6));
    assert_eq!(linger("", &["--gather", "7s"], &variable).unwrap(), seconds(7));
    assert_eq!(linger("", &["--linger", "7s"], &variable).unwrap(), seconds(7));
}

#[test]
fn former_names_are_shown_nowhere() {
    let mut archive = command().find_subcommand("archive").unwrap().clone();
    let help = archive.render_long_help().to_string();
    assert!(help.contains("--linger") && !help.contains("gather"), "{help}");
    let unknown = refused("[archive]\nqq = 1");
    assert!(unknown.contains("linger") && !unknown.contains("gather"), "{unknown}");
    assert!(!refused_variable("TIPLINE_QQ").unwrap().contains("TIPLINE_GATHER"));
}

#[test]
fn a_setting_that_is_given_by_both_names_is_an_error() {
    let told = |error: BadSettings| error.to_string();
    assert_eq!(
        refused(&format!("{ARCHIVE}gather = \"1s\"\nlinger = \"1s\"\n")),
        "unknown key `gather` in tipline.toml line 3: it is the former name of `linger`, which is given too"
    );
    let variables = [("TIPLINE_GATHER", "1s"), ("TIPLINE_LINGER", "1s")];
    assert_eq!(
        told(linger("", &[], &variables).unwrap_err()),
        "TIPLINE_GATHER is the former name of TIPLINE_LINGER: unset it"
    );
    let flags = ["--gather", "1s", "--linger", "1s"];
    let twice = told(linger("", &flags, &[]).unwrap_err());
    assert!(twice.contains("cannot be used multiple times"), "{twice}");
}
