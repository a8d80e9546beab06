package sqlstore

import "context"

// Limit makes a store a program that knows only the first n versions of the schema.
func (s *Store) Limit(n int) { s.d.Migrations = s.d.Migrations[:n] }

// Most bounds the records of a summary.
func (s *Store) Most(n int) { s.most = n }

// Do changes the database as another program would.
func (s *Store) Do(ctx context.Context, statement string) error {
	_, err := s.write.ExecContext(ctx, statement)
	return err
}
