"""What a reply holds: code in a packing, and mathematical answers compared by value."""
