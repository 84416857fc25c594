//! The one row of `tipline_outbox_acknowledged`.

use rusqlite::{Connection, OptionalExtension, params};
use tipline_proto::{Digest, Lineage, Position};

use super::row::{from_i64, to_i64};
use crate::outbox::Acknowledged;

pub(super) const TABLE: &str = "tipline_outbox_acknowledged";

pub(super) fn read(conn: &Connection) -> rusqlite::Result<Option<Acknowledged>> {
    let sql = "SELECT lineage, entry, digest, epoch, sequence FROM tipline_outbox_acknowledged";
    let acknowledged = |row: &rusqlite::Row<'_>| {
        let digest = Digest::from_bytes(row.get(2)?);
        Ok(Acknowledged {
            lineage: Lineage::from_bytes(row.get(0)?),
            position: Position { index: from_i64(row.get(1)?), digest },
            epoch: from_i64(row.get(3)?),
            sequence: from_i64(row.get(4)?),
        })
    };
    conn.prepare_cached(sql)?.query_row([], acknowledged).optional()
}

pub(super) fn write(conn: &Connection, acknowledged: &Acknowledged) -> rusqlite::Result<()> {
    let Acknowledged { lineage, position, epoch, sequence } = acknowledged;
    let sql = "INSERT OR REPLACE INTO tipline_outbox_acknowledged \
               (one, lineage, entry, digest, epoch, sequence) VALUES (1, ?1, ?2, ?3, ?4, ?5)";
    let (entry, digest) = (to_i64(position.index), position.digest.as_bytes());
    let row = params![lineage.as_bytes(), entry, digest, to_i64(*epoch), to_i64(*sequence)];
    conn.prepare_cached(sql)?.execute(row).map(drop)
}
