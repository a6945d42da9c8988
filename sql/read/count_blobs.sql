-- How many blobs there are.
select count(*)
from redress.blob
