//! Uploads that come in pieces.

use common::id::UploadId;
use futures::{FutureExt as _, future::BoxFuture};

use super::{
    Error, UploadOwners as _, UploadRecord, UploadStore,
    engine::{Engine, Query, failed},
    rows,
};

const PUT: &str = "
INSERT INTO uploads (id, details, length, received, placed, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET length = excluded.length, received = excluded.received, placed = excluded.placed,
    expires_at = excluded.expires_at";

impl<E: Engine> UploadStore for E {
    fn uploads(&self) -> BoxFuture<'_, Result<Vec<UploadRecord>, Error>> {
        async move {
            let found = self.read(Query::new("SELECT * FROM uploads ORDER BY id")).await;
            found.map_err(failed("list uploads"))?.iter().map(|row| rows::read_upload(row)).collect()
        }
        .boxed()
    }

    fn put_upload<'a>(&'a self, upload: &'a UploadRecord) -> BoxFuture<'a, Result<(), Error>> {
        let query = Query::new(PUT)
            .bind(upload.id.to_string())
            .bind(rows::text(&upload.details))
            .bind(upload.length.map(rows::count))
            .bind(rows::count(upload.received))
            .bind(upload.placed)
            .bind(upload.created_at)
            .bind(upload.expires_at);
        async move { self.change(query).await.map(drop).map_err(failed("store an upload")) }.boxed()
    }

    fn remove_upload(&self, id: UploadId) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            // Whose it was last: without the upload nobody asks for that.
            let query = Query::new("DELETE FROM uploads WHERE id = $1").bind(id.to_string());
            self.change(query).await.map_err(failed("remove an upload"))?;
            self.forget_upload(id).await
        }
        .boxed()
    }
}
