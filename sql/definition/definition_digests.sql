-- The digest of every definition.
select digest
from redress.definition
