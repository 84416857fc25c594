//! Every way in which a fleet can be unwell is seen: what it is, how bad, and what to do.

use std::collections::BTreeMap;

use tipline_ops::dashboard::{
    About, Dashboard, DashboardServer, HostRule, KeptView, Picture, Remedy,
};
use tipline_ops::testing::{NOW, expectation, exposed, unwell};
use tipline_ops::{Fleet, Kind, Verdict};

use super::Page;

fn name(kind: Kind) -> String {
    serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_be_unwell_is_seen() {
    let remedy = |kind: &Kind| {
        let (risk, fix) = (format!("risk of {}", name(*kind)), vec!["<i>do this</i>".to_owned()]);
        (name(*kind), Remedy { risk, check: vec!["look there".to_owned()], fix })
    };
    let dashboard = Dashboard::new(About {
        version: "1".into(),
        log: "nats://h/x".into(),
        limits: (&expectation()).into(),
        remedies: Kind::ALL.iter().map(remedy).collect::<BTreeMap<_, _>>(),
    });
    let address = "127.0.0.1:0".parse().unwrap();
    let server = DashboardServer::bind(address, HostRule::Local, &dashboard).await.unwrap();
    let mut page = Page::open(&server.address().to_string()).await;
    page.until("#verdict-word", "Waiting").await;
    let cases = unwell();
    assert!(cases.len() > 30, "{}", cases.len());
    for case in cases {
        let (kind, exposure) = (name(case.kind), Some(exposed()));
        let picture = Picture::new(NOW, case.fleet.clone(), exposure, KeptView::default());
        // In between it is another one: only a change is pushed at once.
        dashboard.show(Picture::new(NOW, Fleet::default(), None, KeptView::default()));
        dashboard.show(picture);
        let word = match case.verdict {
            Verdict::Broken => "Broken",
            _ => "Degraded",
        };
        let alert = format!("[data-kind={kind}]");
        // Numbers and names are the same; the first letter may be a capital.
        let text: String = case.text.replace('`', "").chars().skip(1).collect();
        page.until(&alert, &text).await;
        page.until(&alert, &format!("risk of {kind}")).await;
        page.until(&alert, "<i>do this</i>").await;
        assert_eq!(page.text("#verdict-word").await, word, "{kind}");
        let shapes = format!("document.querySelectorAll('{alert} h3 svg').length");
        assert_eq!(page.browser.evaluate(&shapes).await, 1, "{kind}: a shape beside the colour");
    }
    page.is_quiet();
}
