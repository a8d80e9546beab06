package sqlstore

// Limit makes a store a program that knows only the first n versions of the schema.
func (s *Store) Limit(n int) { s.d.Migrations = s.d.Migrations[:n] }
