-- Takes or renews the lease of the sealer: owner, name, lease ms.
select taken, fence, holder, until::text
from redress.take_seal($1, $2, $3)
