-- One migrator at a time.
lock table redress.migration in share row exclusive mode
