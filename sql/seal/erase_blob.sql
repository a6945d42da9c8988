-- Erases a blob and its salt; false when it is not there: id.
select redress.erase_blob($1)
