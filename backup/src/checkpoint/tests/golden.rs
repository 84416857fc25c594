//! What a manifest is written as.

use crate::Manifest;
use crate::checkpoint::manifest::seal;

const PLAIN: &str = r#"{
  "format": 1,
  "id": "00000000000000000007-1700000000000000",
  "created_us": 1700000000000000,
  "chain": "test",
  "genesis": "0000000000000000000000000000000000000000000000000000000000000000",
  "lineage": "07070707070707070707070707070707",
  "cursor": {
    "index": 7,
    "digest": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "epoch": 2,
    "block_tip": {
      "height": 5,
      "hash": "0505"
    },
    "proof_tip": null
  },
  "parts": [
    "files",
    "sqlite"
  ],
  "versions": {
    "tipline": "0.1.0"
  },
  "files": [
    {
      "path": "part-0/a",
      "bytes": 4,
      "blake3": "1111111111111111111111111111111111111111111111111111111111111111",
      "shared": "objects/1111111111111111111111111111111111111111111111111111111111111111"
    },
    {
      "path": "part-1/store.db",
      "bytes": 6,
      "blake3": "2222222222222222222222222222222222222222222222222222222222222222"
    }
  ],
  "blake3": "8385d275f8df0fb9fcf10d446c45e2ab65548f7232f8907dce0c89bbb6f3f96d"
}
"#;
const SEALED: &str = r#"{
  "format": 2,
  "id": "00000000000000000007-1700000000000000",
  "created_us": 1700000000000000,
  "chain": "test",
  "genesis": "0000000000000000000000000000000000000000000000000000000000000000",
  "lineage": "07070707070707070707070707070707",
  "proofs_from": 3,
  "cursor": {
    "index": 7,
    "digest": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "epoch": 2,
    "block_tip": {
      "height": 5,
      "hash": "0505"
    },
    "proof_tip": 4
  },
  "parts": [
    "files",
    "sqlite"
  ],
  "versions": {
    "tipline": "0.1.0"
  },
  "files": [
    {
      "path": "part-0/a",
      "bytes": 204,
      "blake3": "1111111111111111111111111111111111111111111111111111111111111111",
      "shared": "objects/11111111111111111111111111111111",
      "plain_bytes": 4
    }
  ],
  "blake3": "d9276d4567ed585bdcef26ed2724ddd45794ac88e12602d6ac7d0c31d228eee7"
}
"#;
const PACKED: &str = r#"{
  "format": 3,
  "id": "00000000000000000007-1700000000000000",
  "created_us": 1700000000000000,
  "chain": "test",
  "genesis": "0000000000000000000000000000000000000000000000000000000000000000",
  "lineage": "07070707070707070707070707070707",
  "cursor": {
    "index": 7,
    "digest": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "epoch": 2,
    "block_tip": {
      "height": 5,
      "hash": "0505"
    },
    "proof_tip": null
  },
  "parts": [
    "files",
    "sqlite"
  ],
  "versions": {
    "tipline": "0.1.0"
  },
  "packs": [
    {
      "object": "objects/0000000000000000000000000000000000000000000000000000000000000000",
      "bytes": 5,
      "blake3": "0000000000000000000000000000000000000000000000000000000000000000"
    },
    {
      "object": "objects/44444444444444444444444444444444",
      "bytes": 210,
      "blake3": "5555555555555555555555555555555555555555555555555555555555555555",
      "plain_bytes": 10
    }
  ],
  "files": [
    {
      "path": "part-0/a",
      "bytes": 4,
      "blake3": "6666666666666666666666666666666666666666666666666666666666666666",
      "pack": 0,
      "offset": 1
    },
    {
      "path": "part-0/b",
      "bytes": 6,
      "blake3": "7777777777777777777777777777777777777777777777777777777777777777",
      "pack": 1,
      "offset": 4
    },
    {
      "path": "part-1/store.db",
      "bytes": 7,
      "blake3": "8888888888888888888888888888888888888888888888888888888888888888"
    }
  ],
  "blake3": "7667b0e04f75d86cd343c20731b2ba4e16f8d67b2e8517ef8a0a6e2f81a3a2db"
}
"#;

/// The manifests of versions that have been written, byte for byte. Keep stable.
#[test]
fn manifests_are_written_as_they_were() {
    for (text, packs) in [(PLAIN, 0), (SEALED, 0), (PACKED, 2)] {
        let id = "00000000000000000007-1700000000000000".parse().unwrap();
        let manifest = Manifest::from_text(&id, text.as_bytes()).unwrap();
        assert_eq!(manifest.to_text().unwrap(), text);
        assert_eq!(manifest.packs.len(), packs);
    }
}

#[test]
fn a_manifest_whose_files_do_not_lie_in_its_packs_is_refused() {
    let id = "00000000000000000007-1700000000000000".parse().unwrap();
    let (body, _) = PACKED.rsplit_once(",\n").unwrap();
    let read = |from: &str, to: &str| {
        assert_eq!(body.matches(from).count(), 1, "{from}");
        let text = seal(&body.replace(from, to));
        Manifest::from_text(&id, text.as_bytes()).unwrap_err()
    };
    for (from, to, why) in [
        ("\"format\": 3", "\"format\": 1", "does not go with"),
        ("\"format\": 3", "\"format\": 2", "does not go with"),
        ("\"format\": 3", "\"format\": 4", "this program knows 1 to 3"),
        ("\"pack\": 1", "\"pack\": 2", "part-0/b does not lie in its pack"),
        ("\"offset\": 4", "\"offset\": 5", "part-0/b does not lie in its pack"),
        ("\"offset\": 4", "\"offset\": 4294967295", "part-0/b does not lie in its pack"),
        ("\"bytes\": 6,", "\"bytes\": 18446744073709551615,", "part-0/b does not lie in its pack"),
        ("\"pack\": 1,", "", "part-0/b has half of a place in a pack"),
        (
            "\"pack\": 1,",
            "\"pack\": 1, \"shared\": \"objects/x\",",
            "part-0/b does not lie in its pack",
        ),
        ("\"pack\": 1,", "\"pack\": 1, \"plain_bytes\": 6,", "part-0/b does not lie in its pack"),
        ("\"bytes\": 5,", "\"bytes\": 16777217,", "has 16777217 bytes, over 16777216"),
        ("\"plain_bytes\": 10", "\"plain_bytes\": 16777217", "has 16777217 bytes, over 16777216"),
        ("\"object\": \"objects/0", "\"object\": \"objects/../0", "a pack outside of its set"),
    ] {
        let error = read(from, to);
        assert!(error.contains(why), "{from} → {to}: {error}");
    } // Whoever makes one may write any path into it.
    let path = "\"path\": \"part-0/b\"";
    for (name, why) in [
        ("a/".repeat(31) + "b", "a file deeper than any"),
        ("a".repeat(1020), "a file deeper than any"),
        ("../b".to_owned(), "a file outside of its parts"),
    ] {
        let error = read(path, &format!("\"path\": \"part-0/{name}\""));
        assert!(error.contains(why), "{name}: {error}");
    }
}
