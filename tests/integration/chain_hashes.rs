//! A block has the hash that its chain gives it: from `init` to a restore by an explorer's hash.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tipline_store::{ChainView as _, SqliteReader};
use tipline_tests::{bitcoin_blocks, bitcoin_blocks_path};

use crate::deployment::{Deployment, WITHIN, stop};

const GENESIS: &str = "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3";
const BLOCK_1: &str = "88e96d4537bea4d9c05d12549907b32561d3bf31f45aae734cdc119f13406cb6";
const BLOCK_2: &str = "b495a1d7e6663152ae92708da4843337b958146015a2802f4193a410044698c9";
const ETHEREUM: &str = "dir:node?format=ethereum-rlp";
const LOG: &str = "embedded:tipline.log.db";

/// A block of Ethereum's main network.
fn ethereum(height: u64) -> Vec<u8> {
    let file = format!("data/ethereum-mainnet-{height}.rlp");
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// What it printed on standard output, having ended as expected.
async fn run(site: &Deployment, words: &str, code: i32) -> String {
    let finished = site.run(words).await;
    assert_eq!(finished.status.code(), Some(code), "{words}: {}", finished.stderr);
    if code == 0 { finished.stdout } else { finished.stderr }
}

/// Height and hash of the newest block in a store.
fn tip(site: &Deployment, store: &str) -> (u64, String) {
    let cursor = SqliteReader::open(site.path(store)).unwrap().cursor().unwrap().unwrap();
    let tip = cursor.block_tip.unwrap();
    (tip.height, tip.hash.to_string())
}

#[tokio::test]
async fn ethereum_blocks_are_known_by_the_hashes_of_every_explorer() {
    let site = Deployment::new();
    (0..3).for_each(|height| site.block("node", height, &ethereum(height)));
    let made = run(&site, &format!("init --chain ethereum --source {ETHEREUM}"), 0).await;
    assert!(made.contains(&format!("genesis  {GENESIS} from block 0 in ")), "{made}");
    assert!(made.contains(&format!("--source '{ETHEREUM}'")), "what is next: {made}");

    site.publish(LOG, ETHEREUM, 2).await;
    let mut replica = site.tipline("replica --name r --store sqlite:r.db").spawn();
    let is_there = |status: &serde_json::Value| {
        status["consumers"].as_array().unwrap().iter().any(|one| one["block"] == 2)
    };
    site.status("", is_there).await;
    stop(&mut replica).await;
    assert_eq!(tip(&site, "r.db"), (2, BLOCK_2.to_owned()));
    let replica = SqliteReader::open(site.path("r.db")).unwrap();
    for height in 0..3 {
        let block = replica.block(height).unwrap().unwrap();
        assert_eq!(block.payload, ethereum(height), "byte for byte");
    }
    let found = run(&site, &format!("get --store sqlite:r.db block 0x{BLOCK_2} --json"), 0).await;
    assert!(found.contains(BLOCK_2), "{found}");

    let to = format!("restore --store sqlite:back.db --from log --to hash:0x{BLOCK_1}");
    run(&site, &to, 0).await;
    assert_eq!(tip(&site, "back.db"), (1, BLOCK_1.to_owned()));
}

#[tokio::test]
async fn bitcoin_blocks_are_found_by_the_hash_that_explorers_print() {
    let site = Deployment::new();
    let blocks = bitcoin_blocks();
    for (height, block) in (1..=5).zip(&blocks) {
        site.block("node", height, &block.bytes);
    }
    let source = "dir:node?format=bitcoin";
    // Block 0 is not there: block 1 says what it is.
    let made = run(&site, &format!("init --chain bitcoin --source {source}"), 0).await;
    let genesis = "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000";
    assert!(made.contains(&format!("genesis  {genesis} from the parent of block 1 in ")), "{made}");
    site.publish(LOG, source, 5).await;

    let shown = blocks[2].shown_hash();
    assert!(shown.starts_with("0000000"));
    let to = format!("restore --store sqlite:back.db --from log --to hash:{shown}");
    run(&site, &to, 0).await;
    let (height, hash) = tip(&site, "back.db");
    assert_eq!(height, 3);
    assert_ne!(hash, shown, "it is kept in the order of the file");
    for order in [&shown, &hash] {
        let get = format!("get --store sqlite:back.db block 0x{order} --json");
        assert!(run(&site, &get, 0).await.contains(&hash), "{order}");
    }
}

#[tokio::test]
async fn a_wrong_genesis_is_refused_with_what_was_compared_with_what() {
    let site = Deployment::new();
    (0..3).for_each(|height| site.block("node", height, &ethereum(height)));
    let init = |words: &str| format!("init --chain ethereum {words}");

    // Before there is a log.
    let neither = run(&site, &init(""), 2).await;
    assert!(neither.contains("--genesis"), "{neither}");
    let refused = run(&site, &init(&format!("--source {ETHEREUM} --genesis 0x{BLOCK_1}")), 2).await;
    for part in [BLOCK_1, GENESIS, "block 0 in ", "(format=ethereum-rlp)", "no log was created"] {
        assert!(refused.contains(part), "{part:?} in {refused}");
    }
    let nothing = run(&site, &init("--source dir:nowhere"), 2).await;
    assert!(nothing.contains("neither block 0 nor block 1"), "{nothing}");
    let wrong = run(&site, &init("--source dir:node?format=bitcon"), 2).await;
    assert!(wrong.contains("did you mean format=bitcoin?"), "{wrong}");
    assert!(!site.path("tipline.log.db").exists());

    // With a log of the true genesis, blocks that are read in the wrong format.
    run(&site, &init(&format!("--source {ETHEREUM} --genesis 0x{GENESIS}")), 0).await;
    let primary = site.tipline("primary --source dir:node").finish(WITHIN).await;
    assert_eq!(primary.status.code(), Some(2), "{}", primary.stderr);
    let content = blake3::hash(&ethereum(0)).to_hex();
    for part in [&*content, GENESIS, "(format=content)", "to do: if the log has the wrong genesis"]
    {
        assert!(primary.stderr.contains(part), "{part:?} in {}", primary.stderr);
    }
    // And then in the right one.
    site.publish(LOG, ETHEREUM, 2).await;
}

#[tokio::test]
async fn a_block_file_that_contradicts_its_place_stops_the_primary_and_is_named() {
    let site = Deployment::new();
    site.block("node", 0, &ethereum(0));
    site.block("node", 1, &ethereum(1));
    site.block("node", 2, &ethereum(1));
    run(&site, &format!("init --chain ethereum --source {ETHEREUM}"), 0).await;
    let mut primary = site.tipline(&format!("primary --source {ETHEREUM}")).spawn();
    let said = primary.line_with("its header says that it is block 1", WITHIN).await;
    assert!(said.contains("block_00000002.dat") && said.contains("but its name that it is 2"));
    // The node may still write it; it does not any more when it has written the next one.
    site.block("node", 3, &ethereum(2));
    let ended = primary.finish(Duration::from_secs(60)).await;
    assert_eq!(ended.status.code(), Some(13), "{}", ended.stderr);
    let status = site.status("", |status| status["tip"]["height"] == 1).await;
    assert_eq!(status["tip"]["hash"], BLOCK_1, "what is true is published");
}

#[tokio::test]
async fn bitcoin_cores_files_have_their_genesis_only_if_they_begin_with_it() {
    let site = Deployment::new();
    fs::copy(bitcoin_blocks_path(), site.path("blocks.dat")).unwrap();
    let refused = run(&site, "init --chain bitcoin --source blk:blocks.dat", 2).await;
    for part in ["it begins with the block", "Whether that is the genesis is not in the file"] {
        assert!(refused.contains(part), "{part:?} in {refused}");
    }
    // Given, it cannot be compared, and counts.
    let genesis = "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000";
    let init = format!("init --chain bitcoin --source blk:blocks.dat --genesis {genesis}");
    let made = site.run(&init).await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    assert!(
        made.stderr.contains("the genesis was not compared with the source"),
        "{}",
        made.stderr
    );

    // Block 0 in front, as everybody knows it.
    let block_0 = [
        &[1, 0, 0, 0][..],
        &[0; 32],
        &hex("3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"),
        &hex("29ab5f49ffff001d1dac2b7c01"),
        &hex(concat!(
            "0100000001",
            "0000000000000000000000000000000000000000000000000000000000000000ffffffff",
            "4d04ffff001d0104455468652054696d65732030332f4a616e2f32303039204368616e63656c6c6f7220",
            "6f6e206272696e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff",
            "0100f2052a01000000",
            "434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38",
            "c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
        )),
    ]
    .concat();
    let mut file = hex("f9beb4d9");
    file.extend_from_slice(&u32::try_from(block_0.len()).unwrap().to_le_bytes());
    file.extend_from_slice(&block_0);
    fs::create_dir(site.path("blocks")).unwrap();
    fs::write(site.path("blocks/blk00000.dat"), file).unwrap();
    let init = "init --log embedded:whole.db --chain bitcoin --source blk:blocks";
    let made = run(&site, init, 0).await;
    assert!(made.contains(&format!("genesis  {genesis} from the first block of ")), "{made}");
}

fn hex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}
