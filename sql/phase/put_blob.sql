-- Keeps large or personal data beside a record: id, run, salt, content, commitment.
select redress.put_blob($1, $2, $3, $4, $5)
