"""An nftables table as a value, and the transaction that turns one into another.

Only what differs is sent, and all of it in one transaction: a packet sees the rules from before or those from after, never a mixture.
The order within keeps every reference valid: new sets and chains, then rules, then map elements, then what nothing refers to any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Table:
    """`declared` maps and sets, and `base` chains, are made once with the table; the rest follows the services."""

    name: str
    base: Mapping[str, str] = field(default_factory=dict)
    """Chain -> its hook."""
    declared: Mapping[str, str] = field(default_factory=dict)
    """`set x` or `map x` -> its type."""
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Every chain's rules, those of base chains too."""
    elements: dict[str, dict[str, str]] = field(default_factory=dict)
    """Map or set -> key -> verdict ("" in a set)."""
    sets: dict[str, str] = field(default_factory=dict)
    """Sets that come and go -> their definition."""


def create(table: Table) -> str:
    """The whole table, in place of whatever there was."""
    lines = [f"add table ip {table.name}", f"delete table ip {table.name}", f"add table ip {table.name}"]
    lines += [f"add {declared.split()[0]} ip {table.name} {declared.split()[1]} {{ {kind} }}" for declared, kind in table.declared.items()]
    lines += [f"add chain ip {table.name} {chain} {{ {hook} }}" for chain, hook in table.base.items()]
    empty = Table(table.name, table.base, table.declared, chains=dict.fromkeys(table.base, ()), elements={d.split()[1]: {} for d in table.declared})
    return "\n".join([*lines, update(empty, table)])


def update(old: Table, new: Table) -> str:
    """The transaction from one to the other; empty where they are the same.  Both have the same base chains and declarations."""
    name, lines = new.name, list[str]()
    lines += [f"add set ip {name} {s} {{ {definition} }}" for s, definition in new.sets.items() if s not in old.sets]
    lines += [f"add chain ip {name} {chain}" for chain in new.chains if chain not in old.chains]
    for chain, rules in new.chains.items():
        if old.chains.get(chain, ()) != rules:
            if old.chains.get(chain):
                lines.append(f"flush chain ip {name} {chain}")
            lines += [f"add rule ip {name} {chain} {rule}" for rule in rules]
    for which, after in new.elements.items():
        before = old.elements.get(which, {})
        lines += [f"delete element ip {name} {which} {{ {key} }}" for key, verdict in before.items() if after.get(key) != verdict]
        lines += [
            f"add element ip {name} {which} {{ {key}{f' : {verdict}' if verdict else ''} }}" for key, verdict in after.items() if before.get(key) != verdict
        ]
    gone = [chain for chain in old.chains if chain not in new.chains]
    lines += [f"flush chain ip {name} {chain}" for chain in gone]
    lines += [f"delete chain ip {name} {chain}" for chain in gone]
    lines += [f"delete set ip {name} {s}" for s in old.sets if s not in new.sets]
    return "\n".join([*lines, ""]) if lines else ""
