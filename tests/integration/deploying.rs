//! What is in `deploy/` and `compose.yaml`: every command line that is there is run, as it is there, but
//! for addresses and directories.
#![expect(clippy::panic, reason = "a helper of a test fails it by panicking")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tipline_tests::{
    Cluster, Finished, Nats, NatsOptions, S3, Tipline, eventually, haproxy, promtool,
    systemd_analyze,
};

use crate::deployment::{Deployment, WITHIN, stop};

const COMPOSE: &str = include_str!("../../compose.yaml");
const ACCOUNTS: &str = include_str!("../../deploy/nats/accounts.conf");
const HELM: &str = include_str!("../../deploy/nats/helm-values.yaml");
const NATS: &str = include_str!("../../deploy/nats/nats.conf");

fn deploy(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// A service of `compose.yaml`.
struct Service {
    command: Vec<String>,
    environment: Vec<(String, String)>,
}

/// The lines below one, without what they are indented by.
fn below<'a>(text: &'a str, line: &str) -> Vec<&'a str> {
    let mut lines = text.lines().skip_while(|one| *one != line);
    let first = lines.next().unwrap_or_else(|| panic!("there is no {line:?}"));
    let indent = first.len() - first.trim_start().len();
    let is_below = |one: &&str| one.is_empty() || one.len() - one.trim_start().len() > indent;
    lines.take_while(is_below).collect()
}

fn service(name: &str) -> Service {
    let lines = below(COMPOSE, &format!("  {name}:"));
    let of = |key: &str| lines.iter().find_map(|line| line.trim().strip_prefix(key));
    let command = match of("command: ") {
        Some(list) => serde_json::from_str(list).unwrap(),
        None => script(&lines),
    };
    let mut environment = Vec::new();
    for part in of("environment: ").unwrap_or_default().trim_matches(['{', '}', ' ']).split(", ") {
        match part.split_once(": ") {
            Some(("<<", shared)) => environment.extend(anchors(shared)),
            Some((name, value)) => environment.push((name.to_owned(), value.to_owned())),
            // The second one of `<<: [*log, *s3]`.
            None => environment.extend(anchors(part)),
        }
    }
    Service { command, environment }
}

/// The words of a list with a script in it, which is folded.
fn script(lines: &[&str]) -> Vec<String> {
    let list = lines.iter().skip_while(|line| line.trim() != "command:").skip(1);
    let list = list.take_while(|line| line.starts_with("      "));
    let mut words: Vec<String> = Vec::new();
    for line in list {
        match (line.strip_prefix("      - "), words.last_mut()) {
            (Some(">-"), _) => words.push(String::new()),
            (Some(word), _) => words.push(word.to_owned()),
            (None, Some(script)) => *script = format!("{script} {}", line.trim()),
            (None, None) => panic!("no list: {line}"),
        }
    }
    words.iter().map(|word| word.replace("$$", "$")).collect()
}

/// What `*name` stands for.
fn anchors(text: &str) -> Vec<(String, String)> {
    let Some(name) = text.trim_matches(['[', ']']).strip_prefix('*') else { return Vec::new() };
    let lines = below(COMPOSE, &format!("x-{name}: &{name}"));
    let pairs = lines.into_iter().filter_map(|line| line.trim().split_once(": "));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

/// A machine on which the services run.
struct Machine {
    site: Deployment,
    /// Addresses and more that are in the file, and what they are here.
    here: Vec<(String, String)>,
    s3: S3,
}

impl Machine {
    /// A word as it is here.
    fn here(&self, word: &str) -> String {
        let word =
            self.here.iter().fold(word.to_owned(), |word, (there, here)| word.replace(there, here));
        let places = [
            ("/etc/nats/", self.site.path("etc/")),
            ("/nats.conf", deploy("nats/nats.conf")),
            ("/keys", self.site.path("keys")),
            ("/data", self.site.path("data")),
            ("/tmp/", self.site.path("tmp/")),
        ];
        let (mut found, mut rest, mut before) = (String::new(), word.as_str(), ' ');
        while let Some(next) = rest.chars().next() {
            let place = places.iter().find(|(there, _)| rest.starts_with(there));
            let (there, here) = match place.filter(|_| " :=".contains(before)) {
                Some((there, here)) => (there.len(), here.display().to_string()),
                None => (next.len_utf8(), next.to_string()),
            };
            found.push_str(&here);
            before = next;
            rest = &rest[there..];
        }
        found
    }

    fn tipline(&self, name: &str) -> Tipline {
        let Service { command, environment } = service(name);
        let words: Vec<String> = command.iter().map(|word| self.here(word)).collect();
        let program = Tipline::program();
        let tipline = match words.split_first() {
            Some((first, rest)) if first == "tipline" => Tipline::new(rest),
            // The program is on the path of the image.
            Some((shell, rest)) => {
                let path = program.parent().unwrap().display();
                let path = format!("{path}:{}", std::env::var("PATH").unwrap());
                Tipline::of(shell, rest).env("PATH", path)
            }
            None => panic!("{name} has no command"),
        };
        let aws = self.s3.environment();
        let tipline = environment.iter().fold(tipline, |tipline, (name, value)| {
            let ours = aws.iter().find(|(ours, _)| ours == name).map(|(_, value)| value.clone());
            tipline.env(name, ours.unwrap_or_else(|| self.here(value)))
        });
        tipline.current_dir(&self.site.path("data"))
    }

    async fn run(&self, name: &str) {
        let finished: Finished = self.tipline(name).finish(WITHIN).await;
        assert!(finished.status.success(), "{name}: {}{}", finished.stdout, finished.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_of_the_composition_run_together() {
    let site = Deployment::new();
    for dir in ["metrics", "replica-1", "replica-2", "backup", "archive"] {
        std::fs::create_dir_all(site.path("data").join(dir)).unwrap();
    }
    for dir in ["etc", "tmp"] {
        std::fs::create_dir(site.path(dir)).unwrap();
    }
    let here = [
        // All files are of one user here.
        ("chown -R 65532:65532", "ls"),
        ("sleep 3;", "sleep 0.3;"),
        ("0.0.0.0:9101", "127.0.0.1:0"),
        ("0.0.0.0:9102", "127.0.0.1:0"),
        ("0.0.0.0:9110", "127.0.0.1:0"),
    ];
    let here = here.map(|(there, here)| (there.to_owned(), here.to_owned())).to_vec();
    let mut machine = Machine { site, here, s3: S3::start() };
    machine.run("keys").await;
    let accounts = std::fs::read_to_string(machine.site.path("etc/accounts.conf")).unwrap();
    let mut cluster = Cluster::start(NatsOptions {
        more: accounts,
        max_payload: 8 << 20,
        ..NatsOptions::default()
    })
    .await;
    for (node, number) in cluster.nodes().iter().zip(1..) {
        let [client, monitor] = [node.url(), node.monitor_url()];
        machine.here.push((format!("nats-{number}:4222"), client.replace("nats://", "")));
        machine.here.push((format!("nats-{number}:8222"), monitor.replace("http://", "")));
    }
    machine.run("init").await;
    // It changes nothing when everything is started again.
    machine.run("init").await;
    let mut running: Vec<_> =
        ["node", "primary", "replica-1", "replica-2", "backup", "archive", "dashboard", "status"]
            .into_iter()
            .map(|name| (name, machine.tipline(name).spawn()))
            .collect();
    let (_, mut status) = running.pop().unwrap();
    eventually("the status has a chain that grows", WITHIN, async || {
        let text = status.stdout();
        let newest: Value = text
            .lines()
            .rev()
            .find_map(|line| serde_json::from_str(line).ok())
            .ok_or_else(|| text.clone())?;
        let consumers = newest["consumers"].as_array().map_or(&[] as &[Value], Vec::as_slice);
        let there = consumers.iter().filter(|one| one["block"].as_u64() >= Some(2)).count();
        if there == 4 { Ok(()) } else { Err(newest.to_string()) }
    })
    .await;
    let metrics = std::fs::read_to_string(machine.site.path("data/metrics/tipline.prom")).unwrap();
    assert!(metrics.contains("archive-1"), "{metrics}");
    stop(&mut status).await;
    for (name, one) in &mut running {
        assert_eq!(one.process.status(), None, "{name}: {}", one.stderr());
    }
    // A shell that loops ends otherwise.
    for (_, one) in &mut running[1..] {
        stop(one).await;
    }
}

/// The file is for servers that have these keys, which nobody has.
#[tokio::test]
async fn the_accounts_are_what_the_program_prints() {
    let site = Deployment::new();
    std::fs::create_dir(site.path("keys")).unwrap();
    for entry in std::fs::read_dir(deploy("nats/keys")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), site.path("keys").join(entry.file_name())).unwrap();
    }
    let print = |format: &str| {
        format!(
            "init --log nats://nats-1:4222/sample --print-nats-config{format} --nats-keys keys \
             --consumer replica-1 --consumer replica-2 --consumer backup-1 --consumer archive-1"
        )
    };
    let words = print("");
    assert_eq!(site.run(&words).await.stdout, ACCOUNTS);
    assert_eq!(site.run(&print("=helm")).await.stdout, HELM);
    // … and how to print them is said there.
    let said = NATS.replace("\\\n#", "").replace("  ", " ");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(&words), "{said}");
    let seeds = std::fs::read_dir(site.path("keys")).unwrap();
    assert!(seeds.flatten().all(|entry| entry.path().extension().is_some_and(|is| is == "pub")));
}

#[test]
fn the_servers_take_their_configuration() {
    let checked = Command::new(Nats::program())
        .args(["-t", "--config"])
        .arg(deploy("nats/nats.conf"))
        .env("NATS_NAME", "nats-1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{told}");
    assert!(NATS.contains("\n  sync_interval: always\n"));
}

/// What a program says of a file, if it says that it is well. Everything it says otherwise fails.
fn checked(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{command:?}: {out}{err}");
    out + &err
}

#[test]
fn prometheus_takes_the_alerts_and_they_fire_when_they_should() {
    let directory = deploy("prometheus");
    let run =
        |words: &[&str]| checked(Command::new(promtool()).args(words).current_dir(&directory));
    let said = run(&["check", "rules", "--lint=all", "--lint-fatal", "tipline.rules.yml"]);
    assert!(said.contains("SUCCESS"), "{said}");
    let said = run(&["test", "rules", "tipline.rules.test.yml"]);
    assert!(said.contains("SUCCESS"), "{said}");
    // Each is tried at least once, in a case in which it fires.
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).unwrap();
    let (rules, tests) = (read("tipline.rules.yml"), read("tipline.rules.test.yml"));
    for severe in rules.split("- alert: ").skip(1).filter(|rule| rule.contains("severity: page")) {
        let name = severe.lines().next().unwrap();
        let fires = format!("alertname: {name}\n        exp_alerts:");
        assert!(tests.contains(&fires), "{name} is not tried");
    }
    let site = Deployment::new();
    for file in ["prometheus/tipline.rules.yml", "compose/prometheus.yml"] {
        let name = file.split('/').next_back().unwrap();
        std::fs::copy(deploy(file), site.path(name)).unwrap();
    }
    let configuration = site.path("prometheus.yml");
    let checks = ["check", "config"];
    let said = checked(Command::new(promtool()).args(checks).arg(configuration));
    assert!(said.contains("SUCCESS"), "{said}");
}

/// Verified where the program is, because a unit whose program is not there is none.
#[test]
fn systemd_takes_the_units() {
    let (site, program) = (Deployment::new(), Tipline::program());
    let mut command = Command::new(systemd_analyze());
    command.arg("verify");
    for entry in std::fs::read_dir(deploy("systemd")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|is| is != "service") {
            continue;
        }
        let unit = std::fs::read_to_string(&path).unwrap();
        assert!(unit.contains("/usr/bin/tipline "), "{name}");
        let unit = unit.replace("/usr/bin/tipline ", &format!("{} ", program.display()));
        // One of a template is verified as an instance.
        let name = name.replace("@.", "@one.");
        std::fs::write(site.path(&name), unit).unwrap();
        command.arg(site.path(&name));
    }
    assert!(command.get_args().count() > 5, "{command:?}");
    // What is unpacked has its units beside it.
    let analyze = systemd_analyze();
    let root = analyze.ancestors().nth(2).map(|home| home.join("root/lib/systemd/system"));
    if let Some(units) = root.filter(|units| units.is_dir()) {
        command.env("SYSTEMD_UNIT_PATH", units);
    }
    // An unknown key is a warning, and its exit code is 0.
    let about = site.path("").display().to_string();
    let said = checked(&mut command);
    let ours: Vec<_> = said.lines().filter(|line| line.contains(&about)).collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn haproxy_takes_its_configurations() {
    for file in ["haproxy/haproxy.cfg", "compose/haproxy.cfg"] {
        checked(Command::new(haproxy()).args(["-c", "-f"]).arg(deploy(file)));
    }
}
