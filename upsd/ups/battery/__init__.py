"""How long does the battery last? A model that learns, for a UPS that does not say. Pure: time is an argument.

`chemistry` is the voltage of one supposed battery; `belief` what is believed of its traits; `opinion` several
suspicions of what it might be; `learning` what a whole discharge teaches; `memory` what all of them have taught;
`history` what is kept of them; `health` what follows for the battery's age; `watch` follows the readings with it.
"""
