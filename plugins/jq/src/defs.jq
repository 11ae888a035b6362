def @csv: map(
  if isstring then "\"" + (split("\"") | join("\"\"")) + "\""
  elif isnumber or isboolean then tostring
  elif . == null then ""
  else error("@csv takes rows of text, numbers, booleans and null") end
) | join(",");
def @tsv: map(
  if isstring then split("\\") | join("\\\\") | split("\t") | join("\\t") | split("\n") | join("\\n") | split("\r") | join("\\r")
  elif isnumber or isboolean then tostring
  elif . == null then ""
  else error("@tsv takes rows of text, numbers, booleans and null") end
) | join("\t");
