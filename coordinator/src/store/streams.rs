//! Live streams and the floors of their media sequences.

use std::collections::BTreeMap;

use common::{failpoint, id::StreamId};
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::{Value, json};

use super::{
    Error, StoredStream, StreamStore,
    engine::{Engine, Query, failed},
    rows::{self, Reader},
};

/// Again, after an answer was lost, it is there already.
const ADD: &str = "
INSERT INTO streams (id, name, spec, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING";

impl<E: Engine> StreamStore for E {
    fn streams(&self) -> BoxFuture<'_, Result<Vec<StoredStream>, Error>> {
        async move {
            let found = self.read(Query::new("SELECT * FROM streams ORDER BY id")).await;
            found.map_err(failed("list streams"))?.iter().map(|row| rows::read_stream(row)).collect()
        }
        .boxed()
    }

    fn add_stream<'a>(&'a self, stream: &'a StoredStream) -> BoxFuture<'a, Result<(), Error>> {
        let query = Query::new(ADD)
            .bind(stream.id.to_string())
            .bind(&stream.spec.name)
            .bind(rows::text(&stream.spec))
            .bind(stream.created_at);
        async move {
            failpoint::hit("stream.add.before");
            self.change(query).await.map_err(failed("store a stream"))?;
            failpoint::hit("stream.add.after");
            Ok(())
        }
        .boxed()
    }

    fn remove_stream(&self, id: StreamId) -> BoxFuture<'_, Result<(), Error>> {
        let query = Query::new("DELETE FROM streams WHERE id = $1").bind(id.to_string());
        async move {
            failpoint::hit("stream.remove.before");
            self.change(query).await.map_err(failed("remove a stream"))?;
            failpoint::hit("stream.remove.after");
            Ok(())
        }
        .boxed()
    }

    fn sequence_floors(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, Error>> {
        async move {
            let found = self.read(Query::new("SELECT name, floor FROM stream_sequences")).await;
            let floor = |row: &E::Row| {
                let row = Reader { table: "stream_sequences", id_column: "name", row };
                Ok((row.text("name")?, row.within("floor")?))
            };
            found.map_err(failed("read the media sequences of streams"))?.iter().map(floor).collect()
        }
        .boxed()
    }

    fn raise_sequence_floors<'a>(&'a self, floors: &'a [(String, u64)]) -> BoxFuture<'a, Result<(), Error>> {
        let rows: Vec<Value> =
            floors.iter().map(|(name, floor)| json!([name, rows::count(*floor)])).collect();
        let query = Query::new(E::DIALECT.raise_floors).bind(rows);
        async move {
            failpoint::hit("stream.reserve.before");
            self.change(query).await.map_err(failed("reserve media sequences"))?;
            failpoint::hit("stream.reserve.after");
            Ok(())
        }
        .boxed()
    }
}
