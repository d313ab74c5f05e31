//! Whose uploads are, and what owners hold. The sums are kept by triggers, in the transaction of the rows that they are
//! sums of.

use std::collections::BTreeMap;

use common::{failpoint, id::UploadId};
use futures::{FutureExt as _, future::BoxFuture};

use super::{
    Error, Held, HoldingStore, UploadOwners,
    engine::{Engine, Query, failed},
    rows::{self, Reader},
};

impl<E: Engine> HoldingStore for E {
    fn held<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Held, Error>> {
        async move {
            let query = Query::new("SELECT owner, uploads, outputs FROM owner_bytes WHERE owner = $1");
            let found = self.read(query.bind(owner)).await.map_err(failed("read what an owner holds"))?;
            found.first().map_or(Ok(Held::default()), |row| Ok(rows::read_held(row)?.1))
        }
        .boxed()
    }

    fn holders(&self) -> BoxFuture<'_, Result<BTreeMap<String, Held>, Error>> {
        async move {
            let found = self.read(Query::new("SELECT owner, uploads, outputs FROM owner_bytes")).await;
            found.map_err(failed("read what owners hold"))?.iter().map(|row| rows::read_held(row)).collect()
        }
        .boxed()
    }
}

impl<E: Engine> UploadOwners for E {
    fn upload_owner(&self, id: UploadId) -> BoxFuture<'_, Result<Option<String>, Error>> {
        async move {
            let query = Query::new("SELECT owner FROM upload_owners WHERE upload = $1").bind(id.to_string());
            let found = self.read(query).await.map_err(failed("read whose an upload is"))?;
            let owner =
                |row: &E::Row| Reader { table: "upload_owners", id_column: "owner", row }.text("owner");
            found.first().map(owner).transpose()
        }
        .boxed()
    }

    fn own_upload<'a>(
        &'a self,
        id: UploadId,
        owner: &'a str,
        bytes: u64,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let query = Query::new(
            "INSERT INTO upload_owners (upload, owner, bytes) VALUES ($1, $2, $3) ON CONFLICT (upload) DO NOTHING",
        )
        .bind(id.to_string())
        .bind(owner)
        .bind(rows::count(bytes));
        async move {
            failpoint::hit("upload.own.before");
            self.change(query).await.map_err(failed("store whose an upload is"))?;
            failpoint::hit("upload.own.after");
            Ok(())
        }
        .boxed()
    }

    fn charged_uploads(&self) -> BoxFuture<'_, Result<Vec<(UploadId, u64)>, Error>> {
        async move {
            let found = self.read(Query::new("SELECT upload, bytes FROM upload_owners")).await;
            let charged = |row: &E::Row| {
                let row = Reader { table: "upload_owners", id_column: "upload", row };
                Ok((row.parse("upload")?, row.within("bytes")?))
            };
            found.map_err(failed("read whose uploads are"))?.iter().map(charged).collect()
        }
        .boxed()
    }

    fn charge_upload(&self, id: UploadId, bytes: u64) -> BoxFuture<'_, Result<(), Error>> {
        let query = Query::new("UPDATE upload_owners SET bytes = $2 WHERE upload = $1")
            .bind(id.to_string())
            .bind(rows::count(bytes));
        async move { self.change(query).await.map(drop).map_err(failed("charge an upload")) }.boxed()
    }

    fn forget_upload(&self, id: UploadId) -> BoxFuture<'_, Result<(), Error>> {
        let query = Query::new("DELETE FROM upload_owners WHERE upload = $1").bind(id.to_string());
        async move { self.change(query).await.map(drop).map_err(failed("forget whose an upload was")) }
            .boxed()
    }
}
