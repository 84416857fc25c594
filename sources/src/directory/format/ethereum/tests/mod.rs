//! Blocks of the real chain, by themselves and in the outbox.

mod every_byte;
mod fuzzed;
mod roots;

use std::fs;
use std::path::Path;

use alloy_rlp::{Encodable, Header};
use tipline_producer::{Outbox, OutboxError};
use tipline_proto::{Event, Hash};

use super::EthereumRlp;
use crate::FileOutbox;
use crate::directory::layout::Key;
use crate::directory::tests::{Node, long_ago, text};
use crate::directory::{BlockFormat, BlockHeader, ContentHash, DirectorySettings};

const GENESIS: &str = "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3";
const BLOCK_1: &str = "88e96d4537bea4d9c05d12549907b32561d3bf31f45aae734cdc119f13406cb6";
const BLOCK_2: &str = "b495a1d7e6663152ae92708da4843337b958146015a2802f4193a410044698c9";

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const NO_OMMERS: &str = "1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347";
const NO_ITEMS: &str = "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421";

/// What differs between the headers of blocks 0 to 2 of Ethereum's main network.
struct Fields {
    parent: &'static str,
    beneficiary: &'static str,
    state: &'static str,
    difficulty: u64,
    number: u64,
    time: u64,
    extra: &'static str,
    mix: &'static str,
    nonce: &'static str,
}

const MAINNET: [Fields; 3] = [
    Fields {
        parent: ZEROS,
        beneficiary: "0000000000000000000000000000000000000000",
        state: "d7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544",
        difficulty: 17_179_869_184,
        number: 0,
        time: 0,
        extra: "11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa",
        mix: ZEROS,
        nonce: "0000000000000042",
    },
    Fields {
        parent: GENESIS,
        beneficiary: "05a56e2d52c817161883f50c441c3228cfe54d9f",
        state: "d67e4d450343046425ae4271474353857ab860dbc0a1dde64b41b5cd3a532bf3",
        difficulty: 17_171_480_576,
        number: 1,
        time: 1_438_269_988,
        extra: "476574682f76312e302e302f6c696e75782f676f312e342e32",
        mix: "969b900de27b6ac6a67742365dd65f55a0526c41fd18e1b16f1a1215c2e66f59",
        nonce: "539bd4979fef1ec4",
    },
    Fields {
        parent: BLOCK_1,
        beneficiary: "dd2f1e6e498202e86d8f5442af596580a4f03c2c",
        state: "4943d941637411107494da9ec8bc04359d731bfd08b72b4d0edcbd4cd2ecb341",
        difficulty: 17_163_096_064,
        number: 2,
        time: 1_438_270_017,
        extra: "476574682f76312e302e302d30636463373634372f6c696e75782f676f312e34",
        mix: "2f0790c5aa31ab94195e1f6443d645af5b75c46c04fbf9911711198a0ce8fdda",
        nonce: "b853fa261a86aa9e",
    },
];

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn hash(hex: &str) -> Hash {
    hex.parse().unwrap()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    bytes.encode(&mut encoded);
    encoded
}

fn number(number: u64) -> Vec<u8> {
    let mut encoded = Vec::new();
    number.encode(&mut encoded);
    encoded
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let items = items.concat();
    let mut encoded = Vec::new();
    Header { list: true, payload_length: items.len() }.encode(&mut encoded);
    [encoded, items].concat()
}

fn fields(of: &Fields) -> Vec<Vec<u8>> {
    let text = |hex: &str| string(&bytes(hex));
    vec![
        text(of.parent),
        text(NO_OMMERS),
        text(of.beneficiary),
        text(of.state),
        text(NO_ITEMS),
        text(NO_ITEMS),
        string(&[0; 256]),
        number(of.difficulty),
        number(of.number),
        number(5000),
        number(0),
        number(of.time),
        text(of.extra),
        text(of.mix),
        text(of.nonce),
    ]
}

/// A block of Ethereum's main network, without transactions and ommers, as they were.
fn ethereum(height: usize) -> Vec<u8> {
    list(&[list(&fields(&MAINNET[height])), list(&[]), list(&[])])
}

/// A block of Ethereum's main network, from the tests' data.
fn mainnet(height: u64) -> Vec<u8> {
    let file = format!("../tests/data/ethereum-mainnet-{height}.rlp");
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

fn read(height: u64, payload: &[u8]) -> Result<BlockHeader, String> {
    EthereumRlp.read(height, payload).map_err(|why| why.to_string())
}

#[test]
fn ethereum_blocks_have_the_hashes_that_the_chain_has() {
    for (height, (own, parent)) in
        [(GENESIS, ZEROS), (BLOCK_1, GENESIS), (BLOCK_2, BLOCK_1)].into_iter().enumerate()
    {
        let is = Ok(BlockHeader { hash: hash(own), parent: Some(hash(parent)) });
        let block = ethereum(height);
        assert_eq!(read(height as u64, &block), is, "block {height}");
        // As go-ethereum keeps it: the header, and the body after it.
        let header = list(&fields(&MAINNET[height]));
        let with_body = [header, list(&[list(&[]), list(&[])])].concat();
        assert_eq!(read(height as u64, &with_body), is, "header and body {height}");
    }
}

/// The blocks above are the real ones, byte for byte.
#[test]
fn the_files_in_the_tests_data_are_these_blocks() {
    for height in 0..3 {
        assert_eq!(mainnet(height as u64), ethereum(height), "block {height}");
    }
}

/// Every fork since has added fields at the end.
#[test]
fn a_header_of_a_later_fork_is_hashed_whole() {
    let mut fields = fields(&MAINNET[1]);
    fields.extend([number(7), string(&bytes(NO_ITEMS)), number(0), number(0)]);
    let body = [list(&[]), list(&[]), list(&[])].concat();
    let mut hashes = vec![hash(BLOCK_1)];
    for later in [[7; 32], [8; 32], [9; 32]] {
        let block = read(1, &list(&[list(&fields), body.clone()])).unwrap();
        assert_eq!(block.parent, Some(hash(GENESIS)));
        assert!(!hashes.contains(&block.hash), "the new fields are part of it");
        hashes.push(block.hash);
        fields.push(string(&later));
    }
}

#[test]
fn what_is_no_ethereum_block_is_refused_with_the_reason() {
    let whole = ethereum(1);
    for cut in 0..whole.len() {
        assert!(read(1, &whole[..cut]).is_err(), "cut off after {cut} bytes");
    }
    let refused = |payload: &[u8]| read(1, payload).unwrap_err();
    let mut fields = fields(&MAINNET[1]);
    assert_eq!(
        read(2, &whole).unwrap_err(),
        "its header says that it is block 1, but its name that it is 2"
    );
    assert_eq!(
        refused(&[whole.clone(), vec![0; 3]].concat()),
        "3 bytes follow the block that are not part of it"
    );
    assert_eq!(refused(&[0; 540]), "it does not begin with an RLP list: give a block");
    assert!(refused(b"").starts_with("it is no RLP"));
    assert_eq!(refused(&list(&fields)), "it has a header only: give a block, with its body");
    let followed = [list(&fields), string(b"by something")].concat();
    assert_eq!(refused(&followed), "what follows its header is no body: that is an RLP list");
    let refused = |fields: &[Vec<u8>]| refused(&list(&[list(fields), list(&[]), list(&[])]));
    fields[2] = string(&[1; 19]);
    assert_eq!(
        refused(&fields),
        "its header is not Ethereum's: beneficiary is a string of 19 bytes, not one of 20"
    );
    fields[2] = string(&[1; 20]);
    fields[8] = vec![0x82, 0, 1];
    assert!(refused(&fields).starts_with("the number in its header: "));
    fields.truncate(14);
    assert!(refused(&fields).ends_with("it has 14 fields, not 15 or more"));
}

/// Opens the node's directory as Ethereum's, or as another chain.
fn open(
    node: &Node,
    genesis: &str,
    format: Box<dyn BlockFormat>,
) -> Result<FileOutbox, OutboxError> {
    let settings = DirectorySettings { genesis: hash(genesis), ..node.settings() };
    FileOutbox::directory(settings, format, tipline_log::system_clock(), node.waker())
}

fn settled(node: &Node, height: u64, content: &[u8]) {
    node.settled(Key::block(height), "");
    let path = node.path(Key::block(height));
    fs::write(&path, content).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago()).unwrap();
}

#[test]
fn the_outbox_publishes_the_chains_own_hashes() {
    let node = Node::new();
    (0..3).for_each(|height| settled(&node, height, &ethereum(height as usize)));
    let mut outbox = open(&node, GENESIS, Box::new(EthereumRlp)).unwrap();
    let hashes = node.events(&mut outbox, 3).into_iter().map(|event| match event {
        Event::BlockCommitted { hash, parent_hash, .. } => {
            (hash.to_string(), parent_hash.to_string())
        }
        other => panic!("{other:?}"),
    });
    let own = [(GENESIS, ZEROS), (BLOCK_1, GENESIS), (BLOCK_2, BLOCK_1)];
    let own = own.map(|(own, parent)| (own.to_owned(), parent.to_owned()));
    assert_eq!(hashes.collect::<Vec<_>>(), own);
}

#[test]
fn a_body_that_is_not_the_headers_is_named_and_not_published() {
    let height = 15_537_393;
    let whole = mainnet(height);
    let mut changed = whole.clone();
    changed[whole.len() - 9] ^= 1;
    let node = Node::new();
    settled(&node, height, &changed);
    let mut outbox = open(&node, GENESIS, Box::new(EthereumRlp)).unwrap();
    let says = "the transactions of block 15537393 are not those of its header";
    let said = node.said(&outbox, says);
    assert!(said.contains("block_00ed14f1.dat") && said.ends_with("it is waited for"), "{said}");
    assert!(outbox.read(0, 9, 9999).unwrap().is_empty());
    // The node writes it again.
    settled(&node, height, &whole);
    let events = node.events(&mut outbox, 1);
    assert!(matches!(&events[0], Event::BlockCommitted { payload, .. } if *payload == whole));
    node.well(&outbox);

    // What has a block above is not written any more.
    let node = Node::new();
    settled(&node, height, &changed);
    settled(&node, height + 1, &[0xc0]);
    let outbox = open(&node, GENESIS, Box::new(EthereumRlp)).unwrap();
    let failure = text(&node.failure(&outbox));
    assert!(failure.contains("block_00ed14f1.dat") && failure.contains(says), "{failure}");
}

#[test]
fn what_contradicts_its_name_or_the_block_below_is_named_and_not_published() {
    // Block 2 under the name of block 1.
    let node = Node::new();
    settled(&node, 0, &ethereum(0));
    settled(&node, 1, &ethereum(2));
    let mut outbox = open(&node, GENESIS, Box::new(EthereumRlp)).unwrap();
    let says = "block_00000001.dat: its header says that it is block 2, but its name that it is 1";
    node.said(&outbox, says);
    settled(&node, 2, &ethereum(2));
    let failure = text(&node.failure(&outbox));
    assert!(failure.contains(says), "{failure}");
    assert_eq!(outbox.read(0, 9, 9999).unwrap().len(), 1, "block 0 only");
    drop(outbox);

    // Another block 1 below block 2.
    let mut fields = fields(&MAINNET[1]);
    fields[12] = string(b"another");
    let other = list(&[list(&fields), list(&[]), list(&[])]);
    let found = read(1, &other).unwrap().hash;
    settled(&node, 1, &other);
    settled(&node, 2, &ethereum(2));
    let outbox = open(&node, GENESIS, Box::new(EthereumRlp)).unwrap();
    let failure = text(&node.failure(&outbox));
    for part in ["block_00000002.dat", BLOCK_1, &format!("the block at height 1 is {found}")] {
        assert!(failure.contains(part), "{part:?} in {failure}");
    }
}

#[test]
fn an_outbox_keeps_the_format_that_its_blocks_were_read_with() {
    let node = Node::new();
    settled(&node, 0, &ethereum(0));
    let wrong = open(&node, GENESIS, Box::new(ContentHash)).unwrap();
    let failure = text(&node.failure(&wrong));
    assert!(failure.contains(&format!("this chain's is {GENESIS}")), "{failure}");
    drop(wrong);
    // Nothing was published yet: the right one may follow.
    let mut right = open(&node, GENESIS, Box::new(EthereumRlp)).unwrap();
    node.rows(&mut right, 1);
    drop(right);
    let refused = text(&open(&node, GENESIS, Box::new(ContentHash)).unwrap_err());
    let says = "published with format=ethereum-rlp, and with format=content they have other hashes";
    assert!(refused.contains(says), "{refused}");
    drop(open(&node, GENESIS, Box::new(EthereumRlp)).unwrap());
}
