"""The studio: a page on which a person teleoperates, corrects a policy, and looks at data."""
