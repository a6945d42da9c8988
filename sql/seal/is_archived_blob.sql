-- Whether only an archive holds a blob: id.
select exists (select from redress.archived_blob where id = $1)
