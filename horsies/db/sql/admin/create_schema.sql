create schema horsies.;
