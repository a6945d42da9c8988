-- One blob: id.
select run, salt, content, commitment
from redress.blob
where id = $1
