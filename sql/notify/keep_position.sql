-- Remembers how far a subscriber has come; false when it lost its place: name, owner, position.
select redress.keep_position($1, $2, $3)
