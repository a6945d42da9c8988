-- Gives the lease of the sealer back: owner.
select redress.leave_seal($1)
