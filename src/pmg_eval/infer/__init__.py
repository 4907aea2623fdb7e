"""From an estimate to a statement: the default policy, sensitivity, pooling, multiplicity, equivalence."""

__all__: list[str] = []
